"""Dense LU."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, final

from optlayers.implicit.framework import Array
from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.elementwise import counter, scaled
from optlayers.implicit.linear.elimination import Elimination
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import DIVERGED, INACCURATE, SINGULAR, SOLVED, LinearInfo
from optlayers.implicit.stopping import length


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class LU(AbstractLinearSolver):
    """A is formed, by n products, and factored; its solutions are refined once.

    Memory: two n by n matrices for each element. Its condition number is estimated from below (Hager 1984, Condition
    estimates; Higham 1988, FORTRAN codes for estimating the one-norm), or computed for n up to INVERTED. Above
    1/sqrt(eps), where half of the digits are lost, the status is INACCURATE, and so it is where the residual misses the
    tolerance; above 1/eps, and where a pivot vanishes, it is SINGULAR; where A or rhs is not finite, DIVERGED. None of
    these spoils other elements of the batch.

    There can be no preconditioner, and max_iterations is not used. The iterations reported are the n products.
    """

    name: ClassVar[str] = "LU"
    preconditioned: ClassVar[bool] = False

    def unchecked(self) -> AbstractLinearSolver:
        return Elimination()

    def solve(self, operator: LinearOperator, rhs: Array) -> LinearSolution:
        xp, matrix = operator.xp, operator.matrix()
        rhs, scale = scaled(xp, rhs)
        solve = operator.framework.factor(matrix)
        further = rhs.shape[: len(rhs.shape) - len(operator.like.shape)]
        columns = xp.moveaxis(rhs.reshape(math.prod(further), *operator.like.shape), 0, -1)
        x = solve(columns, False)
        x = x + solve(columns - matrix @ x, False)
        u = xp.moveaxis(x, -1, 0).reshape(rhs.shape)
        residual = length(xp, xp.moveaxis(matrix @ x - columns, -1, 0).reshape(rhs.shape))
        one = operator.framework.eye(matrix.shape[-1], rhs)
        few = matrix.shape[-1] <= INVERTED
        condition = _condition_by_inverse(xp, matrix, one, solve) if few else _condition(xp, matrix, solve)
        condition = condition + 0 * length(xp, rhs)
        eps = xp.finfo(rhs.dtype).eps
        bound = self.bound(xp, length(xp, rhs) * scale, length(xp, u) * scale)
        accurate = (residual * scale <= bound) & (condition < eps**-0.5)
        status = xp.where(accurate, counter(xp, residual, SOLVED), counter(xp, residual, INACCURATE))
        status = xp.where((condition < 1 / eps) & xp.isfinite(residual), status, counter(xp, residual, SINGULAR))
        given = xp.sum(xp.abs(rhs), axis=-1) + xp.sum(xp.sum(xp.abs(matrix), axis=-1), axis=-1)
        status = xp.where(xp.isfinite(given), status, counter(xp, residual, DIVERGED))
        return LinearSolution(
            u * scale[..., None],
            LinearInfo(status, residual * scale, counter(xp, residual, rhs.shape[-1]), condition),
            lambda r, transpose: solve(r[..., None], transpose)[..., 0],
        )


def _condition_by_inverse(xp: Any, matrix: Array, one: Array, solve: Callable[[Array, bool], Array]) -> Array:
    """(*B) |A|_1 |A^-1|_1; infinite where a pivot vanished."""
    return _product_of_norms(xp, matrix, xp.amax(_sums(xp, solve(xp.zeros_like(matrix) + one, False)), axis=-1))


def _condition(xp: Any, matrix: Array, solve: Callable[[Array, bool], Array]) -> Array:
    """(*B) |A|_1 times an estimate of |A^-1|_1 from below; infinite where a pivot vanished.

    |A^-1 x|_1 is convex in x; from the mean of the unit vectors, go to the one towards which it is steepest, and again.
    Higham's vector of alternating signs catches what that overlooks.
    """
    n = matrix.shape[-1]
    ones = xp.ones_like(matrix[..., :1])
    place = xp.cumsum(ones, -2) - 1
    x = ones / n
    size = 0 * ones[..., 0, 0]
    for _ in range(STEPS):
        y = solve(x, False)
        size = xp.maximum(size, xp.sum(xp.abs(y), axis=-2)[..., 0])
        slope = xp.abs(solve(xp.where(y >= 0, ones, -ones), True))
        steepest = xp.where(slope >= xp.amax(slope, axis=-2)[..., None], place, n * ones)
        x = xp.where(place == -xp.amax(-steepest, axis=-2)[..., None], ones, 0 * ones)
    alternating = xp.where(place % 2 == 0, ones, -ones) * (1 + place / max(n - 1, 1))
    size = xp.maximum(size, xp.sum(xp.abs(solve(x, False)), axis=-2)[..., 0])
    size = xp.maximum(size, 2 / (3 * n) * xp.sum(xp.abs(solve(alternating, False)), axis=-2)[..., 0])
    return _product_of_norms(xp, matrix, size)


def _sums(xp: Any, matrix: Array) -> Array:
    """Of the moduli of each column."""
    return xp.sum(xp.abs(matrix), axis=-2)


def _product_of_norms(xp: Any, matrix: Array, size: Array) -> Array:
    condition = xp.amax(_sums(xp, matrix), axis=-1) * size
    return xp.where(xp.isfinite(condition), condition, xp.full_like(condition, float("inf")))


FORMED_BY_DEFAULT = 500
"""Most unknowns of an element for which its matrix is formed and factored where the user names no solver."""

STEPS = 3
"""Steps of the estimate; the first alone is at times too small by a factor of a hundred and more."""

INVERTED = 8
"""Up to this size the inverse itself costs no more than the estimate's eight solves, one after the other."""
