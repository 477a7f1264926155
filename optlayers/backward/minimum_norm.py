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
from optlayers.kkt import SMALLEST_EIGENVALUE, DenseSystem, Linearization, SymmetricSystem, settle


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Decomposed:
    """The optimality conditions of one element, and their symmetric system."""

    at: Linearization
    K: Float[np.ndarray, "size size"]
    dense: DenseSystem

    @property
    def bytes(self) -> int:
        return self.at.bytes + self.dense.bytes

    def release(self) -> None:
        """Nothing was borrowed."""


@final
@dataclass(frozen=True)
class MinimumNorm(AbstractBackward):
    """The pseudo-inverse of the symmetric system, by its eigenvalues: the documented answer at singular points.

    Eigenvalues below `tolerance` of the largest count as zero, so that directions in which the solution is nearly free
    can be left out too; those that are rounding, though the system is not singular, are reported as an error.
    `max_iterations` refinements follow within the range. Dense: the cost is cubic in the size.
    """

    tolerance: float = SMALLEST_EIGENVALUE
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
        def decomposed(point: Points) -> _Decomposed:
            at = point.linearization(0)
            K = system.matrix(system.fill(at.scaled.program, at.D).values).toarray()
            return _Decomposed(at, K, DenseSystem(K, system.positive))

        def element(place: int) -> Differentiated:
            with points.single(place).computed(self, decomposed) as each_system:
                at, dense = each_system.at, each_system.dense
                right = system.right_hand_side(at.D, *right_hand_sides(at, vectors[place], transpose))
                everything = np.ones(right.shape[1], dtype=np.bool_)
                settled = settle(
                    each_system.K,
                    right,
                    np.zeros_like(right),
                    everything,
                    lambda columns: dense.least_squares(columns, self.tolerance, self.max_iterations),
                )
                found = linear_solution(system, at, settled, self.max_iterations, dense.null_vector)
                return finish(at, found, self.name, transpose)

        return each(points, threads, element)
