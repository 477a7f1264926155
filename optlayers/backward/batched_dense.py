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
from optlayers.kkt import DenseSystem, SymmetricSystem, is_solution, settle


@final
@dataclass(frozen=True)
class BatchedDense(AbstractBackward):
    """LU with pivoting of the dense symmetric systems of all elements in one call: for many small problems.

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
        solution, iterations = self._solve(K, right)
        unsolved, bound = ~is_solution(right, solution, right - K @ solution), _error_bound(K, right, solution)
        results = []
        for place, at in enumerate(linearizations):
            least_squares = DenseSystem(K[place]).least_squares
            settled = settle(K[place], right[place], solution[place], unsolved[place], least_squares)
            found = linear_solution(system, at, settled, iterations)
            error = np.where(unsolved[place], found.error, bound[place])
            results.append(finish(at, dataclasses.replace(found, error=error), self.name, transpose))
        return results

    def _solve(
        self, K: Float[np.ndarray, "B size size"], right: Float[np.ndarray, "B size k"]
    ) -> tuple[Float[np.ndarray, "B size k"], int]:
        """Solutions, refined at least once and while that helps, and the refinements; not a number for all if a pivot
        is zero. The first refinement counts though the residual may not fall: see `DenseSystem.solve`."""
        try:
            solution = np.linalg.solve(K, right)
            residual = right - K @ solution
            for step in range(self.max_iterations):
                candidate = solution + np.linalg.solve(K, residual)
                candidate_residual = right - K @ candidate
                before, after = (np.linalg.norm(part) for part in (residual, candidate_residual))
                if step > 0 and (before <= self.tolerance * np.linalg.norm(right) or not after < before):
                    return solution, step
                solution, residual = candidate, candidate_residual
        except np.linalg.LinAlgError:
            return np.full_like(right, np.nan), 0
        return solution, self.max_iterations


def _error_bound(
    K: Float[np.ndarray, "B size size"], right: Float[np.ndarray, "B size k"], solution: Float[np.ndarray, "B size k"]
) -> Float[np.ndarray, "B k"]:
    """A bound of the largest error, relative to the largest entry: |K^-1| eps (|K| |z| + |r|) (Skeel, 1980)."""
    try:
        inverse = np.abs(np.linalg.inv(K))
    except np.linalg.LinAlgError:
        return np.zeros((len(K), right.shape[2]))  # then every column is unsolved
    rounding = np.finfo(np.float64).eps * (np.abs(K) @ np.abs(solution) + np.abs(right))
    largest = np.abs(solution).max(axis=1, initial=0.0)
    return np.asarray((inverse @ rounding).max(axis=1, initial=0.0) / np.where(largest > 0, largest, 1.0))
