"""Iterations for F(z) = 0, one in each file."""

from optlayers.implicit.solvers.abstract import AbstractIteration
from optlayers.implicit.solvers.choice import solver_of
from optlayers.implicit.solvers.fixed_point_iteration import FixedPointIteration
from optlayers.implicit.solvers.newton import Newton

__all__ = ["AbstractIteration", "FixedPointIteration", "Newton", "solver_of"]
