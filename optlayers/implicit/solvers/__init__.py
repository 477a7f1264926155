"""Iterations for F(z) = 0, one in each file."""

from optlayers.implicit.solvers.abstract import AbstractIteration
from optlayers.implicit.solvers.anderson import Anderson
from optlayers.implicit.solvers.backward_choice import linear_solver_of
from optlayers.implicit.solvers.bisection import Bisection
from optlayers.implicit.solvers.broyden import Broyden
from optlayers.implicit.solvers.choice import solver_of
from optlayers.implicit.solvers.custom import Custom
from optlayers.implicit.solvers.fixed_point_iteration import FixedPointIteration
from optlayers.implicit.solvers.gradient_descent import GradientDescent
from optlayers.implicit.solvers.iterated import Iterated
from optlayers.implicit.solvers.lbfgs import LBFGS
from optlayers.implicit.solvers.line_search import LineSearch
from optlayers.implicit.solvers.newton import Newton

__all__ = [
    "LBFGS",
    "AbstractIteration",
    "Anderson",
    "Bisection",
    "Broyden",
    "Custom",
    "FixedPointIteration",
    "GradientDescent",
    "Iterated",
    "LineSearch",
    "Newton",
    "linear_solver_of",
    "solver_of",
]
