"""The derivative from dense factorizations of a whole batch at once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from optlayers.backward.abstract import (
    AbstractBackward,
    Differentiated,
    Points,
    finish,
    linear_solution,
    right_hand_sides,
)
from optlayers.kkt import SUSPICIOUS_GAIN, DenseSystem, SymmetricSystem, is_solution, rounding_error, settle


@final
@dataclass(frozen=True)
class BatchedDense(AbstractBackward):
    """The inverses of the dense symmetric systems of all elements in one call, by LU with pivoting: for many small
    problems. Refinement makes products with them as exact as solutions by LU.

    An element whose system is singular to working precision gets the least-squares solution of minimum norm, and the
    report says so.
    """

    tolerance: float = 1e-12
    max_iterations: int = 3

    name: ClassVar[str] = "batched dense"

    def multiply(
        self,
        system: SymmetricSystem,
        points: Points,
        vectors: Float[np.ndarray, "B k in"],
        transpose: bool,
        threads: int,
    ) -> list[Differentiated]:
        count, k = len(points.data), vectors.shape[1]
        linearizations = [points.linearization(place) for place in range(count)]
        K, right = np.empty((count, system.size, system.size)), np.empty((count, system.size, k))
        for place, at in enumerate(linearizations):
            K[place] = system.matrix(system.fill(at.scaled.program, at.D).values).toarray()
            right[place] = system.right_hand_side(at.D, *right_hand_sides(at, vectors[place], transpose))
        inverse, gain = _inverses(K)
        solution, iterations = self._solve(K, inverse, right)
        unsolved = ~is_solution(right, solution, right - K @ solution)
        error = rounding_error(inverse, K, right, solution)
        results = []
        for place, at in enumerate(linearizations):
            dense = DenseSystem(K[place], system.positive)
            suspicious = bool(unsolved[place].any()) or not gain[place] <= SUSPICIOUS_GAIN
            null = dense.null_vector if suspicious else None
            # The residual of a solution of a singular system is small whatever is added of its null space.
            left_over = unsolved[place] | (null is not None)
            settled = settle(K[place], right[place], solution[place], left_over, dense.least_squares)
            found = linear_solution(system, at, settled, iterations, null)
            trusted = np.where(left_over, found.error, error[place])
            results.append(finish(at, dataclasses.replace(found, error=trusted), self.name, transpose))
        return results

    def _solve(
        self,
        K: Float[np.ndarray, "B size size"],
        inverse: Float[np.ndarray, "B size size"],
        right: Float[np.ndarray, "B size k"],
    ) -> tuple[Float[np.ndarray, "B size k"], int]:
        """Solutions, refined at least once and while that helps, and the refinements; not a number for all if a pivot
        is zero. The first refinement counts though the residual may not fall: see `DenseSystem.solve`."""
        solution = inverse @ right
        residual = right - K @ solution
        for step in range(self.max_iterations):
            candidate = solution + inverse @ residual
            candidate_residual = right - K @ candidate
            before, after = (np.linalg.norm(part) for part in (residual, candidate_residual))
            if step > 0 and (before <= self.tolerance * np.linalg.norm(right) or not after < before):
                return solution, step
            solution, residual = candidate, candidate_residual
        return solution, self.max_iterations


def _inverses(K: Float[np.ndarray, "B size size"]) -> tuple[Float[np.ndarray, "B size size"], Float[np.ndarray, " B"]]:
    """The inverses, and their largest entries relative to those of K; not a number for all if a pivot is zero."""
    try:
        inverse = np.linalg.inv(K)
    except np.linalg.LinAlgError:
        return np.full_like(K, np.nan), np.full(len(K), np.nan)
    sizes = [np.abs(part).max(axis=(1, 2), initial=0.0) for part in (K, inverse)]
    return inverse, sizes[0] * sizes[1]
