"""What the methods for least squares share: products with A M^-1 and its transpose, and when they end."""

from __future__ import annotations

from typing import Any

from optlayers.implicit.framework import Array, Function
from optlayers.implicit.linear.abstract import AbstractLinearSolver
from optlayers.implicit.operator import LinearOperator


def products(solver: AbstractLinearSolver, operator: LinearOperator) -> tuple[Function, Function, Function, Function]:
    """v -> A v; and, for B = A M^-1, y -> B y, r -> B'r, and y -> M^-1 y."""
    multiply, multiply_transposed = operator.multiply(), operator.multiply_transposed()
    inverse, inverse_transposed = solver.approximate_inverse(operator), solver.approximate_inverse(operator, True)
    return multiply, lambda y: multiply(inverse(y)), lambda r: inverse_transposed(multiply_transposed(r)), inverse


def orthogonal(xp: Any, tolerance: float, normal: Array, size: Array, norm: Array) -> Array:
    """Whether r is orthogonal to the range of B, so that u is a solution of least squares: |B'r| <= t |B| |r|.

    t is the tolerance, at most sqrt(eps), and at least eps. No r in the range is so orthogonal to it if the condition
    of B is below 1/t.
    """
    eps = xp.finfo(norm.dtype).eps
    return normal <= max(min(tolerance, eps**0.5), eps) * size * norm
