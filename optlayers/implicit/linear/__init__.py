"""Solvers of linear systems, one in each file."""

from optlayers.implicit.linear.abstract import ROUNDING, AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.bicgstab import BiCGStab
from optlayers.implicit.linear.conjugate_gradients import ConjugateGradients
from optlayers.implicit.linear.gmres import GMRES
from optlayers.implicit.linear.lsmr import LSMR
from optlayers.implicit.linear.lu import LU
from optlayers.implicit.linear.neumann import Neumann
from optlayers.implicit.linear.normal_conjugate_gradients import NormalConjugateGradients
from optlayers.implicit.linear.one_step import OneStep
from optlayers.implicit.linear.preconditioner import AbstractPreconditioner, DenseInverse, Preconditioner
from optlayers.implicit.operator import LinearOperator

__all__ = [
    "GMRES",
    "LSMR",
    "LU",
    "ROUNDING",
    "AbstractLinearSolver",
    "AbstractPreconditioner",
    "BiCGStab",
    "ConjugateGradients",
    "DenseInverse",
    "LinearOperator",
    "LinearSolution",
    "Neumann",
    "NormalConjugateGradients",
    "OneStep",
    "Preconditioner",
]
