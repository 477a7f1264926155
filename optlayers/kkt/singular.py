"""What becomes of the right-hand sides that a solver of the symmetric system left unsolved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float

from optlayers.arrays import Mask, Vector
from optlayers.kkt.dense import Columns

OUTSIDE_TOLERANCE = 1e-8
"""A right-hand side counts as outside the range of the system if more than this part of it is left by the solution of
least squares, and that solution is accurate itself."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """Solutions of K z = r by columns. `residual` is relative to the larger of the right-hand side and the solution.

    Where `singular`, the right-hand side is not in the range of K: the solution is the least-squares one of minimum
    norm, and `residual` is that of the nearest right-hand side in the range. `error` bounds the relative error of
    solutions by least squares (it is the part of the right-hand side that they leave, if that is larger), and is zero
    for the others.
    """

    solution: Float[np.ndarray, "size k"]
    residual: Float[np.ndarray, " k"]
    singular: Bool[np.ndarray, " k"]
    error: Float[np.ndarray, " k"]


def settle(
    K: Any,
    right: Columns,
    solution: Columns,
    unsolved: Mask,
    least_squares: Callable[[Columns], tuple[Columns, Columns, float]],
) -> Settled:
    """The solutions, those of the unsolved columns by `least_squares`, which gives a solution, what it leaves of the
    right-hand side in the range of K, and a bound of its relative error. Columns that are not finite have no solution,
    and are not judged."""
    finite = np.isfinite(right).all(axis=0)
    right = np.where(finite, right, 0.0)
    solution = np.where(finite, solution, 0.0)
    singular = unsolved & finite
    size = largest(right)
    residual, error = right - K @ solution, np.zeros(right.shape[1])
    if singular.any():
        solution[:, singular], residual[:, singular], error[singular] = least_squares(right[:, singular])
        # Only a part of the right-hand side that no solution reaches makes the system singular for it.
        left = right - K @ solution
        singular &= largest(left) > OUTSIDE_TOLERANCE * size
        singular &= largest(residual) <= OUTSIDE_TOLERANCE * size
        # A projection that is not accurate itself may not hide what it leaves of the right-hand side.
        residual = np.where(singular, residual, left)
        # What is left of a right-hand side that is not outside the range is an error of the solution.
        share = largest(left) / np.where(size > 0, size, 1.0)
        error = np.where(unsolved & finite & ~singular, np.maximum(error, share), error)
    scale = np.maximum(size, largest(solution))
    relative = largest(residual) / np.where(scale > 0, scale, 1.0)
    return Settled(np.where(finite, solution, np.nan), relative, singular, error)


def largest(columns: Columns) -> Vector:
    """The largest entry of each column, in magnitude."""
    result: Vector = np.abs(columns).max(axis=0, initial=0.0)
    return result
