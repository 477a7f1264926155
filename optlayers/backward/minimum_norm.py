"""The derivative as a least-squares solution of minimum norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from optlayers.backward.abstract import (
    AbstractBackward,
    Differentiated,
    Points,
    each,
    finish,
    linear_solution,
    right_hand_sides,
)
from optlayers.kkt import DenseSystem, SymmetricSystem, settle


@final
@dataclass(frozen=True)
class MinimumNorm(AbstractBackward):
    """The pseudo-inverse of the symmetric system, by its eigenvalues: the documented answer at singular points.

    Eigenvalues below `tolerance` of the largest count as zero, so that directions in which the solution is nearly free
    can be left out too. `max_iterations` refinements follow within the range. Dense: the cost is cubic in the size.
    """

    tolerance: float = 1e-13
    max_iterations: int = 2

    name: ClassVar[str] = "minimum norm"

    def multiply(
        self,
        system: SymmetricSystem,
        points: Points,
        vectors: Float[np.ndarray, "B k in"],
        transpose: bool,
        threads: int,
    ) -> list[Differentiated]:
        def element(place: int) -> Differentiated:
            at = points.linearization(place)
            K = system.matrix(system.fill(at.scaled.program, at.D).values).toarray()
            dense = DenseSystem(K)

            def least_squares(
                right: Float[np.ndarray, "size k"],
            ) -> tuple[Float[np.ndarray, "size k"], Float[np.ndarray, "size k"], float]:
                solution, left, error = dense.least_squares(right, self.tolerance)
                for _ in range(self.max_iterations):
                    correction, left, _ = dense.least_squares(left, self.tolerance)
                    solution = solution + correction
                return solution, left, error

            right = system.right_hand_side(at.D, *right_hand_sides(at, vectors[place], transpose))
            everything = np.ones(right.shape[1], dtype=np.bool_)
            settled = settle(K, right, np.zeros_like(right), everything, least_squares)
            return finish(at, linear_solution(system, at, settled, self.max_iterations), self.name, transpose)

        return each(points, threads, element)
