"""Solvers of linear systems, one in each file."""

from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.choice import linear_solver_of
from optlayers.implicit.linear.lu import LU
from optlayers.implicit.linear.operator import LinearOperator
from optlayers.implicit.linear.preconditioner import AbstractPreconditioner, Preconditioner

__all__ = [
    "LU",
    "AbstractLinearSolver",
    "AbstractPreconditioner",
    "LinearOperator",
    "LinearSolution",
    "Preconditioner",
    "linear_solver_of",
]
