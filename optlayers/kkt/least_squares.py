"""Least-squares solutions of linear systems known by their products only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import scipy.sparse.linalg as spla
from jaxtyping import Bool, Float

from optlayers.arrays import Vector

STALLED = 0.5
"""A restart that leaves more than this part of the normal residual has brought no progress."""


OUTSIDE_TOLERANCE = 1e-8
"""A right-hand side is outside the range of M if a solution of least squares leaves more than this part of it, and the
normal residual is below this."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class LeastSquares:
    """Solutions z of min |M z - r|_2 by columns, each of minimum norm.

    singular: whether r is not in the range of M.
    relative_residual: |r - M z| / max(|r|, |z|); where `singular`, |M'(r - M z)| / |M'r| instead, which vanishes at a
        solution of least squares.
    iterations: the most over the columns.
    """

    solution: Float[np.ndarray, "columns k"]
    singular: Bool[np.ndarray, " k"]
    relative_residual: Float[np.ndarray, " k"]
    iterations: int


def least_squares(
    M: spla.LinearOperator, right: Float[np.ndarray, "rows k"], tolerance: float, max_iterations: int
) -> LeastSquares:
    """LSMR (Fong and Saunders, 2011), restarted from its own residual until the normal residual is below `tolerance`.

    Restarts are iterative refinement: they remove the rounding that the recurrences of one run leave. From zero, and
    from what is left of r, the iterates stay in the range of M', where the solution of minimum norm is.
    """
    count = right.shape[1]
    solution, normal, iterations = np.zeros((M.shape[1], count)), np.zeros(count), 0
    left = right.copy()
    for column in range(count):
        start = np.linalg.norm(M.rmatvec(right[:, column]))
        used, last = 0, np.inf
        while start > 0 and np.isfinite(start) and used < max_iterations:
            step, taken = _run(M, left[:, column], tolerance, max_iterations - used)
            candidate = solution[:, column] + step
            candidate_left = right[:, column] - M.matvec(candidate)
            error = float(np.linalg.norm(M.rmatvec(candidate_left)) / start)
            used += max(taken, 1)
            if not error < last:
                break
            solution[:, column], left[:, column], normal[column] = candidate, candidate_left, error
            if error <= tolerance or error > STALLED * last:
                break
            last = error
        iterations = max(iterations, used)
    size, remains = np.linalg.norm(right, axis=0), np.linalg.norm(left, axis=0)
    singular = (remains > OUTSIDE_TOLERANCE * size) & (normal <= OUTSIDE_TOLERANCE)
    scale = np.maximum(size, np.linalg.norm(solution, axis=0))
    relative = np.where(singular, normal, remains / np.where(scale > 0, scale, 1.0))
    return LeastSquares(solution, singular, relative, iterations)


def _run(M: spla.LinearOperator, right: Vector, tolerance: float, limit: int) -> tuple[Vector, int]:
    """One run of LSMR: the solution and its iterations."""
    result = spla.lsmr(M, right, atol=tolerance, btol=tolerance, conlim=0, maxiter=limit)
    return result[0], int(result[2])
