"""Implicit layers: solutions of F(z, theta) = 0, differentiated by the implicit function theorem."""

from optlayers.implicit.capture import captured
from optlayers.implicit.equation import Equation, Problem
from optlayers.implicit.forms import argmin_equation, fixed_point_equation, root_equation
from optlayers.implicit.framework import Framework
from optlayers.implicit.interface import ImplicitFunction
from optlayers.implicit.iteration import run
from optlayers.implicit.linear import (
    GMRES,
    LSMR,
    LU,
    AbstractLinearSolver,
    AbstractPreconditioner,
    BiCGStab,
    ConjugateGradients,
    DenseInverse,
    Iterated,
    LinearOperator,
    LinearSolution,
    Neumann,
    NormalConjugateGradients,
    Preconditioner,
)
from optlayers.implicit.policy import OnFailure, Policy
from optlayers.implicit.report import STATUSES, Info, LinearInfo
from optlayers.implicit.rule import Rule
from optlayers.implicit.settings import Semantics, Settings
from optlayers.implicit.solvers import AbstractIteration, FixedPointIteration, Newton

__all__ = [
    "GMRES",
    "LSMR",
    "LU",
    "STATUSES",
    "AbstractIteration",
    "AbstractLinearSolver",
    "AbstractPreconditioner",
    "BiCGStab",
    "ConjugateGradients",
    "DenseInverse",
    "Equation",
    "FixedPointIteration",
    "Framework",
    "ImplicitFunction",
    "Info",
    "Iterated",
    "LinearInfo",
    "LinearOperator",
    "LinearSolution",
    "Neumann",
    "Newton",
    "NormalConjugateGradients",
    "OnFailure",
    "Policy",
    "Preconditioner",
    "Problem",
    "Rule",
    "Semantics",
    "Settings",
    "argmin_equation",
    "captured",
    "fixed_point_equation",
    "root_equation",
    "run",
]
