"""Dense solutions of symmetric systems that are ill-conditioned or singular."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, final

import numpy as np
import scipy.linalg as la
from jaxtyping import Bool, Float

from optlayers.arrays import Mask, Vector

ROUNDING = 1e-14
"""The rounding of K z in equilibrated variables, relative to the largest entry of z."""

LARGEST_GAIN = 1e13
"""A solution larger than this times its right-hand side is looked at through the eigenvalues of the system."""

SMALLEST_EIGENVALUE = 1e-14
"""Eigenvalues below this part of the largest are rounding: they do not tell a singular system from one that is so
ill-conditioned that nothing along their eigenvectors is known."""

NULL_TOLERANCE = 1e-12
"""Vectors whose two parts K makes smaller than this, relative to its largest eigenvalue, are null vectors."""

CAUTION = 10.0
"""What is left of an error after refinements is estimated at this times what their rate promises."""

SUSPICIOUS_GAIN = 1e10
"""A smaller inverse, relative to the system, proves that there is no null vector."""

Columns: TypeAlias = Float[np.ndarray, "size k"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pivoted:
    """Solutions by columns, which of them solve the system to working precision, and estimates of their relative
    errors."""

    solution: Float[np.ndarray, "size k"]
    solved: Bool[np.ndarray, " k"]
    error: Float[np.ndarray, " k"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Projected:
    """Least-squares solutions of minimum norm by columns.

    outside: the part of the right-hand side that is outside the range of K.
    error: estimates of the relative errors.
    """

    solution: Float[np.ndarray, "size k"]
    outside: Float[np.ndarray, "size k"]
    error: Float[np.ndarray, " k"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """What least squares leave out: an orthonormal basis of the null space, and one of the directions along which the
    system is not zero, but so small that rounding hides it."""

    null: Float[np.ndarray, "size free"]
    weak: Float[np.ndarray, "size weak"]


@final
class DenseSystem:
    """K z = r for a symmetric matrix K with entries near one: the symmetric system, or the rows of it that take part.

    positive: the rows of the semidefinite diagonal blocks, the others being negative semidefinite.
    """

    def __init__(self, K: Float[np.ndarray, "size size"], positive: Bool[np.ndarray, " size"]) -> None:
        self._K, self._positive = K, positive

    @property
    def bytes(self) -> int:
        """The memory of the matrix and, whether they were needed or not, of its eigenvectors."""
        return 2 * self._K.nbytes

    def solve(self, right: Columns) -> Pivoted:
        """The solution by LU with pivoting and refinement, with an estimate of its error.

        Refinement makes the error that of a small relative change of each entry of K, zeros staying zeros (Skeel,
        1980), which for the system of a least-squares problem of condition c keeps the accuracy at c, not at c^2. The
        estimate is LAPACK's (dgesvx): that of the largest entry, relative to it.
        """
        result = la.lapack.dgesvx(self._K, right)
        solution, estimate = result[7], result[9]
        with np.errstate(all="ignore"):
            solved = is_solution(right, solution, right - self._K @ solution)
        return Pivoted(solution, solved, estimate)

    def least_squares(self, right: Columns, cutoff: float = SMALLEST_EIGENVALUE, refinements: int = 2) -> Projected:
        """The least-squares solution of minimum norm, by eigenvalues, refined.

        Eigenvalues below `cutoff` of the largest count as zero. Where they are not, but rounding, what is missing along
        their eigenvectors is an error of the solution.
        """
        eigenvalues, vectors = self._eigen
        kept = np.abs(eigenvalues) > self._largest * max(cutoff, SMALLEST_EIGENVALUE)
        cut, basis = self._cut(cutoff), vectors[:, kept]
        pseudoinverse = (basis / eigenvalues[kept]) @ basis.T
        outside = cut.null @ (cut.null.T @ right)
        solution, before, last = np.zeros_like(right), np.zeros(right.shape[1]), np.zeros(right.shape[1])
        for _ in range(1 + refinements):
            correction = pseudoinverse @ (right - outside - self._K @ solution)
            solution, before, last = solution + correction, last, np.abs(correction).max(axis=0, initial=0.0)
        # The rounding of the eigenvalues leaves an error that falls by the same factor from one refinement to the next.
        factor = np.minimum(1.0, last / np.where(before > 0, before, 1.0)) if refinements else np.ones_like(last)
        missing = np.abs(cut.weak.T @ right).max(axis=0, initial=0.0) / (SMALLEST_EIGENVALUE * (self._largest or 1.0))
        size = np.abs(solution).max(axis=0, initial=0.0)
        relative = np.maximum(CAUTION * factor * last, missing) / np.where(size > 0, size, 1.0)
        error = np.maximum(rounding_error(pseudoinverse, self._K, right, solution), relative)
        return Projected(solution, outside, error)

    @cached_property
    def null_vector(self) -> Vector | None:
        """A unit vector of the null space to working precision, along no axis of it, or None if there is none."""
        null = self._cut(SMALLEST_EIGENVALUE).null
        if not null.shape[1]:
            return None
        vector: Vector = null @ (1 + np.arange(null.shape[1]))
        return vector / np.linalg.norm(vector)

    @cached_property
    def _eigen(self) -> tuple[Vector, Float[np.ndarray, "size size"]]:
        eigenvalues, vectors = la.eigh(self._K, check_finite=False)
        return eigenvalues, vectors

    @property
    def _largest(self) -> float:
        return float(np.abs(self._eigen[0]).max(initial=0.0))

    def _cut(self, cutoff: float) -> _Cut:
        """A null vector (u, w) of K, u its positive rows, has K (u, 0) = 0 and K (0, w) = 0. For least squares of
        condition c the smallest eigenvalue is 1/c^2, which rounding hides from c = 1e8 on, but K (u, 0) is 1/c."""
        eigenvalues, vectors = self._eigen
        size = np.abs(eigenvalues)
        asked = vectors[:, (size <= self._largest * cutoff) & (size > self._largest * SMALLEST_EIGENVALUE)]
        hidden = vectors[:, size <= self._largest * SMALLEST_EIGENVALUE]
        if not hidden.shape[1]:
            return _Cut(asked, hidden)
        parts = [self._K @ np.where(rows[:, None], hidden, 0.0) for rows in (self._positive, ~self._positive)]
        _, sizes, turn = la.svd(np.concatenate(parts), full_matrices=False)
        null = sizes <= NULL_TOLERANCE * (self._largest or 1.0)
        turned = hidden @ turn.T
        return _Cut(np.concatenate([asked, turned[:, null]], axis=1), turned[:, ~null])


def is_null(K: Any, positive: Bool[np.ndarray, " size"], vector: Vector) -> bool:
    """Whether both parts of a vector with largest entry one are in the null space of K, to working precision."""
    return all(np.abs(K @ np.where(rows, vector, 0.0)).max() <= NULL_TOLERANCE for rows in (positive, ~positive))


def rounding_error(
    inverse: Float[np.ndarray, "*B size size"],
    K: Float[np.ndarray, "*B size size"],
    right: Float[np.ndarray, "*B size k"],
    solution: Float[np.ndarray, "*B size k"],
) -> Float[np.ndarray, "*B k"]:
    """An estimate of the error of the largest entry, relative to it: |K^-1| eps (|K| |z| + |r|) (Skeel, 1980)."""
    rounding = np.finfo(np.float64).eps * (np.abs(K) @ np.abs(solution) + np.abs(right))
    largest = np.abs(solution).max(axis=-2, initial=0.0)
    return np.asarray((np.abs(inverse) @ rounding).max(axis=-2, initial=0.0) / np.where(largest > 0, largest, 1.0))


def is_solution(
    right: Float[np.ndarray, "*B size k"],
    solution: Float[np.ndarray, "*B size k"],
    left: Float[np.ndarray, "*B size k"],
) -> Bool[np.ndarray, "*B k"]:
    """Which columns solve K z = r to working precision, `left` being r - K z: not those that grow by `LARGEST_GAIN`."""
    size, gain, error = (np.abs(part).max(axis=-2, initial=0.0) for part in (right, solution, left))
    solved: Mask = (gain <= LARGEST_GAIN * size) & (error <= ROUNDING * (size + gain))
    return solved
