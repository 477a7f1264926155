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
from optlayers.kkt import (
    SUSPICIOUS_GAIN,
    DenseSystem,
    Linearization,
    SymmetricSystem,
    is_solution,
    rounding_error,
    settle,
)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Inverted:
    """The optimality conditions of a batch, their symmetric systems, the inverses of these, and the largest entries of
    the inverses relative to those of the systems; not a number for all if a pivot is zero."""

    at: list[Linearization]
    K: Float[np.ndarray, "B size size"]
    systems: list[DenseSystem]
    inverse: Float[np.ndarray, "B size size"]
    gain: Float[np.ndarray, " B"]

    @property
    def bytes(self) -> int:
        own = self.K.nbytes + self.inverse.nbytes
        return own + sum(at.bytes for at in self.at) + sum(dense.bytes for dense in self.systems)

    def release(self) -> None:
        """Nothing was borrowed."""


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
        def inverted(points: Points) -> _Inverted:
            at = [points.linearization(place) for place in range(len(points.data))]
            K = np.empty((len(at), system.size, system.size))
            for place, each in enumerate(at):
                K[place] = system.matrix(system.fill(each.scaled.program, each.D).values).toarray()
            return _Inverted(at, K, [DenseSystem(each, system.positive) for each in K], *_inverses(K))

        with points.computed(self, inverted) as batch:
            return self._multiply(system, batch, vectors, transpose)

    def _multiply(
        self, system: SymmetricSystem, batch: _Inverted, vectors: Float[np.ndarray, "B k in"], transpose: bool
    ) -> list[Differentiated]:
        K, right = batch.K, np.empty((len(batch.at), system.size, vectors.shape[1]))
        for place, at in enumerate(batch.at):
            right[place] = system.right_hand_side(at.D, *right_hand_sides(at, vectors[place], transpose))
        solution, iterations = self._solve(batch, right)
        unsolved = ~is_solution(right, solution, right - K @ solution)
        error = rounding_error(batch.inverse, K, right, solution)
        results = []
        for place, (at, dense) in enumerate(zip(batch.at, batch.systems, strict=True)):
            suspicious = bool(unsolved[place].any()) or not batch.gain[place] <= SUSPICIOUS_GAIN
            null = dense.null_vector if suspicious else None
            # The residual of a solution of a singular system is small whatever is added of its null space.
            left_over = unsolved[place] | (null is not None)
            settled = settle(K[place], right[place], solution[place], left_over, dense.least_squares)
            found = linear_solution(system, at, settled, iterations, null)
            trusted = np.where(left_over, found.error, error[place])
            results.append(finish(at, dataclasses.replace(found, error=trusted), self.name, transpose))
        return results

    def _solve(
        self, batch: _Inverted, right: Float[np.ndarray, "B size k"]
    ) -> tuple[Float[np.ndarray, "B size k"], int]:
        """Solutions, refined at least once and while that helps, and the refinements; not a number for all if a pivot
        is zero. The first refinement counts though the residual may not fall: see `DenseSystem.solve`."""
        solution = batch.inverse @ right
        residual = right - batch.K @ solution
        for step in range(self.max_iterations):
            candidate = solution + batch.inverse @ residual
            candidate_residual = right - batch.K @ candidate
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
