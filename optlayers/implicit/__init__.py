"""Implicit layers: solutions of F(z, theta) = 0, differentiated by the implicit function theorem."""

from optlayers.implicit.equation import Equation, Problem
from optlayers.implicit.forms import argmin_equation, fixed_point_equation, root_equation
from optlayers.implicit.framework import Framework
from optlayers.implicit.interface import solve_form
from optlayers.implicit.iteration import run
from optlayers.implicit.linear import LU, AbstractLinearSolver, LinearOperator, Preconditioner
from optlayers.implicit.policy import OnFailure, Policy
from optlayers.implicit.report import STATUSES, Info, LinearInfo
from optlayers.implicit.rule import Rule
from optlayers.implicit.settings import Settings
from optlayers.implicit.solvers import (
    LBFGS,
    AbstractIteration,
    Anderson,
    Bisection,
    Broyden,
    Custom,
    FixedPointIteration,
    GradientDescent,
    LineSearch,
    Newton,
)
from optlayers.implicit.spectral_radius import spectral_radius

__all__ = [
    "LBFGS",
    "LU",
    "STATUSES",
    "AbstractIteration",
    "AbstractLinearSolver",
    "Anderson",
    "Bisection",
    "Broyden",
    "Custom",
    "Equation",
    "FixedPointIteration",
    "Framework",
    "GradientDescent",
    "Info",
    "LineSearch",
    "LinearInfo",
    "LinearOperator",
    "Newton",
    "OnFailure",
    "Policy",
    "Preconditioner",
    "Problem",
    "Rule",
    "Settings",
    "argmin_equation",
    "fixed_point_equation",
    "root_equation",
    "run",
    "solve_form",
    "spectral_radius",
]
