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
    LinearOperator,
    LinearSolution,
    Neumann,
    NormalConjugateGradients,
    OneStep,
    Preconditioner,
)
from optlayers.implicit.policy import OnFailure, Policy
from optlayers.implicit.report import STATUSES, Info, LinearInfo
from optlayers.implicit.rule import Rule
from optlayers.implicit.settings import Semantics, Settings
from optlayers.implicit.solvers import (
    LBFGS,
    AbstractIteration,
    Anderson,
    Bisection,
    Broyden,
    Custom,
    FixedPointIteration,
    GradientDescent,
    Iterated,
    LineSearch,
    Newton,
)
from optlayers.implicit.spectral_radius import spectral_radius
from optlayers.implicit.uncertainty import examined

__all__ = [
    "AbstractIteration",
    "AbstractLinearSolver",
    "AbstractPreconditioner",
    "Anderson",
    "BiCGStab",
    "Bisection",
    "Broyden",
    "ConjugateGradients",
    "Custom",
    "DenseInverse",
    "Equation",
    "FixedPointIteration",
    "Framework",
    "GMRES",
    "GradientDescent",
    "ImplicitFunction",
    "Info",
    "Iterated",
    "LBFGS",
    "LSMR",
    "LU",
    "LineSearch",
    "LinearInfo",
    "LinearOperator",
    "LinearSolution",
    "Neumann",
    "Newton",
    "NormalConjugateGradients",
    "OnFailure",
    "OneStep",
    "Policy",
    "Preconditioner",
    "Problem",
    "Rule",
    "STATUSES",
    "Semantics",
    "Settings",
    "argmin_equation",
    "captured",
    "examined",
    "fixed_point_equation",
    "root_equation",
    "run",
    "spectral_radius",
]
