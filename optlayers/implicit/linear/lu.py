"""Dense LU."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, final

from optlayers.implicit.framework import Array
from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.operator import LinearOperator
from optlayers.implicit.report import INACCURATE, SINGULAR, SOLVED, LinearInfo
from optlayers.implicit.stopping import length, stop_of


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LU(AbstractLinearSolver):
    """A is formed, by n products, and factored; its solutions are refined once.

    Its condition number is estimated from below (Hager 1984, Condition estimates). Above 1/sqrt(eps), where half of the
    digits are lost, the status is INACCURATE, and so it is where the residual misses the tolerance; above 1/eps it is
    SINGULAR.

    max_iterations and preconditioner are not used.
    """

    name: ClassVar[str] = "LU"

    def solve(self, operator: LinearOperator, rhs: Array) -> LinearSolution:
        xp, matrix = operator.xp, operator.matrix()
        solve = operator.framework.factor(matrix)
        further = len(rhs.shape) - len(operator.like.shape)
        columns = xp.moveaxis(rhs.reshape(math.prod(rhs.shape[:further]), *rhs.shape[further:]), 0, -1)
        x = solve(columns, False)
        x = x + solve(columns - matrix @ x, False)
        u = xp.moveaxis(x, -1, 0).reshape(rhs.shape)
        residual = length(xp, xp.moveaxis(matrix @ x - columns, -1, 0).reshape(rhs.shape))
        condition = _condition(xp, matrix, solve)
        eps = xp.finfo(rhs.dtype).eps
        bound = stop_of(self.stop).bound(self.tolerance, length(xp, rhs), length(xp, u))
        status = xp.where((residual <= bound) & (condition < eps**-0.5), SOLVED, INACCURATE)
        status = xp.where((condition < 1 / eps) & xp.isfinite(residual), status, SINGULAR)
        iterations = xp.full_like(residual, operator.like.shape[-1], dtype=xp.int32)
        return LinearSolution(u, LinearInfo(status, residual, iterations, condition + 0 * residual))


def _condition(xp: Any, matrix: Array, solve: Callable[[Array, bool], Array]) -> Array:
    """(*B) |A|_1 times an estimate of |A^-1|_1 from below; infinite where a pivot vanished."""
    mean, one = xp.full_like(matrix[..., :1], 1 / matrix.shape[-1]), xp.ones_like(matrix[..., :1])
    x = solve(mean, False)
    slope = xp.abs(solve(xp.where(x >= 0, one, -one), True))
    steepest = xp.where(slope >= xp.amax(slope, axis=-2)[..., None], one, 0 * one)
    y = solve(steepest / xp.sum(steepest, axis=-2)[..., None], False)
    size = xp.maximum(xp.sum(xp.abs(x), axis=-2), xp.sum(xp.abs(y), axis=-2))[..., 0]
    condition = xp.amax(xp.sum(xp.abs(matrix), axis=-2), axis=-1) * size
    return xp.where(xp.isfinite(condition), condition, float("inf"))
