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
"""A right-hand side is outside the range of M if a solution leaves more than this part of it, and what it leaves, rho,
is orthogonal to the range: |M'rho| <= OUTSIDE_TOLERANCE |M| |rho|. Nothing in the range is so orthogonal to it, if the
condition of M is below 1 / OUTSIDE_TOLERANCE."""


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
    """LSMR (Fong and Saunders, 2011), restarted from its own residual until the normal residual |M'(r - M z)| / |M'r|
    is below `tolerance`, and what is left of r as well, or else orthogonal to the range of M.

    Restarts are iterative refinement: they remove the rounding that the recurrences of one run leave. From zero, and
    from what is left of r, the iterates stay in the range of M', where the solution of minimum norm is.
    """
    count = right.shape[1]
    solution, left = np.zeros((M.shape[1], count)), right.copy()
    normal, singular = np.zeros(count), np.zeros(count, dtype=np.bool_)
    iterations = 0
    for column in range(count):
        r = right[:, column]
        start, size = _norm(M.rmatvec(r)), _norm(r)
        used, last, magnitude = 0, np.inf, 0.0
        singular[column] = start == 0 < size
        while start > 0 and np.isfinite(start) and used < max_iterations:
            run = _run(M, left[:, column], tolerance, max_iterations - used)
            candidate = solution[:, column] + run.solution
            remainder = r - M.matvec(candidate)
            error, remains = _norm(M.rmatvec(remainder)) / start, _norm(remainder)
            used, magnitude = used + max(run.iterations, 1), max(magnitude, run.magnitude)
            if not error < last:
                break
            solution[:, column], left[:, column], normal[column] = candidate, remainder, error
            orthogonality = error * start / (magnitude * remains) if remains > 0 else 0.0
            singular[column] = remains > OUTSIDE_TOLERANCE * size and orthogonality <= OUTSIDE_TOLERANCE
            reached = remains <= tolerance * max(size, _norm(candidate)) or orthogonality <= tolerance
            if (reached and error <= tolerance) or error > STALLED * last:
                break
            last = error
        iterations = max(iterations, used)
    remaining = np.linalg.norm(left, axis=0)
    scale = np.maximum(np.linalg.norm(right, axis=0), np.linalg.norm(solution, axis=0))
    relative = np.where(singular, normal, remaining / np.where(scale > 0, scale, 1.0))
    return LeastSquares(solution, singular, relative, iterations)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One run of LSMR; `magnitude` is its estimate of |M|, of at most the Frobenius norm."""

    solution: Float[np.ndarray, " columns"]
    iterations: int
    magnitude: float


def _run(M: spla.LinearOperator, right: Vector, tolerance: float, limit: int) -> _Run:
    result = spla.lsmr(M, right, atol=tolerance, btol=tolerance, conlim=0, maxiter=limit)
    return _Run(result[0], int(result[2]), float(result[5]))


def _norm(vector: Vector) -> float:
    return float(np.linalg.norm(vector))
