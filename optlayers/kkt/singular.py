"""What becomes of the right-hand sides that a solver of the symmetric system left unsolved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float

from optlayers.arrays import Mask, Vector
from optlayers.kkt.dense import Columns, Projected

OUTSIDE_PART = 1e-8
"""A right-hand side counts as outside the range of the system if more than this part of it is."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """Solutions of K z = r by columns. `residual` is relative to the larger of the right-hand side and the solution.

    Where `singular`, the right-hand side is not in the range of K: the solution is the least-squares one of minimum
    norm, and `residual` is that of the nearest right-hand side in the range. `error` is an estimate of the relative
    error of solutions by least squares, and zero for the others.
    """

    solution: Float[np.ndarray, "size k"]
    residual: Float[np.ndarray, " k"]
    singular: Bool[np.ndarray, " k"]
    error: Float[np.ndarray, " k"]


def settle(
    K: Any, right: Columns, solution: Columns, unsolved: Mask, least_squares: Callable[[Columns], Projected]
) -> Settled:
    """The solutions, those of the unsolved columns by `least_squares`. Columns that are not finite have no solution,
    and are not judged."""
    finite = np.isfinite(right).all(axis=0)
    right, solution = np.where(finite, right, 0.0), np.where(finite, solution, 0.0)
    size, error, outside = largest(right), np.zeros(right.shape[1]), np.zeros_like(right)
    singular = unsolved & finite
    if singular.any():
        found = least_squares(right[:, singular])
        solution[:, singular], outside[:, singular], error[singular] = found.solution, found.outside, found.error
        singular &= largest(outside) > OUTSIDE_PART * size
    residual = right - np.where(singular, outside, 0.0) - K @ solution
    scale = np.maximum(size, largest(solution))
    relative = largest(residual) / np.where(scale > 0, scale, 1.0)
    return Settled(np.where(finite, solution, np.nan), relative, singular, error)


def largest(columns: Columns) -> Vector:
    """The largest entry of each column, in magnitude."""
    result: Vector = np.abs(columns).max(axis=0, initial=0.0)
    return result
