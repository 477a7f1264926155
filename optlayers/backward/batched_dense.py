"""The derivative from dense factorizations of a whole batch at once."""

from __future__ import annotations

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
from optlayers.kkt import DenseSystem, SymmetricSystem, settle


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
        error, size = (np.abs(part).max(axis=1, initial=0.0) for part in (right - K @ solution, right))
        unsolved = ~(error <= self.tolerance * size)
        results = []
        for place, at in enumerate(linearizations):
            least_squares = DenseSystem(K[place]).least_squares
            settled = settle(K[place], right[place], solution[place], unsolved[place], least_squares)
            results.append(finish(at, linear_solution(system, at, settled, iterations), self.name, transpose))
        return results

    def _solve(
        self, K: Float[np.ndarray, "B size size"], right: Float[np.ndarray, "B size k"]
    ) -> tuple[Float[np.ndarray, "B size k"], int]:
        """Solutions, refined while that helps, and the refinements; not a number for all if a pivot is zero."""
        try:
            solution = np.linalg.solve(K, right)
            residual = right - K @ solution
            for step in range(self.max_iterations):
                candidate = solution + np.linalg.solve(K, residual)
                candidate_residual = right - K @ candidate
                if not np.linalg.norm(candidate_residual) < np.linalg.norm(residual):
                    return solution, step
                solution, residual = candidate, candidate_residual
        except np.linalg.LinAlgError:
            return np.full_like(right, np.nan), 0
        return solution, self.max_iterations
