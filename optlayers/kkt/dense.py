"""Dense solutions of symmetric systems that are ill-conditioned or singular."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import scipy.linalg as la
from jaxtyping import Bool, Float

from optlayers.arrays import Mask

ROUNDING = 1e-14
"""The rounding of K z in equilibrated variables, relative to the largest entry of z."""

LARGEST_GAIN = 1e13
"""A system whose solution is larger than this times its right-hand side is singular to working precision; so is the
part of it with eigenvalues below 1 / LARGEST_GAIN of the largest."""

Columns: TypeAlias = Float[np.ndarray, "size k"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pivoted:
    """Solutions by columns, which of them solve the system to working precision, and a bound of the relative error."""

    solution: Float[np.ndarray, "size k"]
    solved: Bool[np.ndarray, " k"]
    error: Float[np.ndarray, " k"]


@final
class DenseSystem:
    """K z = r for a symmetric matrix K with entries near one."""

    def __init__(self, K: Float[np.ndarray, "size size"]) -> None:
        self._K = K

    def solve(self, right: Columns) -> Pivoted:
        """The solution by LU with pivoting and refinement, with a bound of its error.

        Refinement makes the error that of a small relative change of each entry of K, zeros staying zeros (Skeel,
        1980), which for the system of a least-squares problem of condition c keeps the accuracy at c, not at c^2. The
        bound is LAPACK's (dgesvx): that of the largest entry, relative to it.
        """
        result = la.lapack.dgesvx(self._K, right)
        solution, bound = result[7], result[9]
        with np.errstate(all="ignore"):
            solved = is_solution(right, solution, right - self._K @ solution)
        return Pivoted(solution, solved, bound)

    def least_squares(self, right: Columns, cutoff: float = 1 / LARGEST_GAIN) -> tuple[Columns, Columns, float]:
        """The least-squares solution of minimum norm, by eigenvalues, what it leaves of r in the range of K, and a
        bound of its relative error: the rounding unit times the condition of the part that is kept.

        Eigenvalues below `cutoff` of the largest count as zero.
        """
        eigenvalues, vectors = la.eigh(self._K, check_finite=False)
        kept = np.abs(eigenvalues) > np.abs(eigenvalues).max(initial=0.0) * cutoff
        vectors = vectors[:, kept]
        coordinates = vectors.T @ right
        solution = vectors @ (coordinates / eigenvalues[kept, None])
        sizes = np.abs(eigenvalues[kept])
        condition = float(sizes.max() / sizes.min()) if len(sizes) else 1.0
        return solution, vectors @ coordinates - self._K @ solution, np.finfo(np.float64).eps * condition


def is_solution(
    right: Float[np.ndarray, "*B size k"],
    solution: Float[np.ndarray, "*B size k"],
    left: Float[np.ndarray, "*B size k"],
) -> Bool[np.ndarray, "*B k"]:
    """Which columns solve K z = r to working precision, `left` being r - K z: not those that grow by `LARGEST_GAIN`."""
    size, gain, error = (np.abs(part).max(axis=-2, initial=0.0) for part in (right, solution, left))
    solved: Mask = (gain <= LARGEST_GAIN * size) & (error <= ROUNDING * (size + gain))
    return solved
