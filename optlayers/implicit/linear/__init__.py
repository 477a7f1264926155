"""Solvers of linear systems, one in each file."""

from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.choice import linear_solver_of
from optlayers.implicit.linear.lu import LU
from optlayers.implicit.linear.preconditioner import AbstractPreconditioner, Preconditioner
from optlayers.implicit.operator import LinearOperator

__all__ = [
    "LU",
    "AbstractLinearSolver",
    "AbstractPreconditioner",
    "LinearOperator",
    "LinearSolution",
    "Preconditioner",
    "linear_solver_of",
]
