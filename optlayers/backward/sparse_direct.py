"""The derivative from a sparse factorization of the symmetric system."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from optlayers.backward.abstract import AbstractBackward, Differentiated, Points, each, multiply_by
from optlayers.kkt import Derivative, SymmetricSystem


@final
@dataclass(frozen=True)
class SparseDirect(AbstractBackward):
    """One factorization for each element, LDL' in a fixed pattern, refined to rounding; the default.

    Where the point is degenerate: systems that are consistent get their solution of minimum norm, others the
    least-squares one, and both are reported (docs/mathematics.md, "Degeneracy").
    """

    tolerance: float = 1e-12
    max_iterations: int = 20

    name: ClassVar[str] = "sparse direct"

    def multiply(
        self,
        system: SymmetricSystem,
        points: Points,
        vectors: Float[np.ndarray, "B k in"],
        transpose: bool,
        threads: int,
    ) -> list[Differentiated]:
        def factored(point: Points) -> Derivative:
            return Derivative(system, point.linearization(0), self.tolerance, self.max_iterations)

        def element(place: int) -> Differentiated:
            with points.single(place).computed(self, factored) as derivative:
                found = multiply_by(derivative, vectors[place], points.structure.n, transpose)
                report = dataclasses.replace(found.report, ambiguity=derivative.ambiguity(transpose))
                return Differentiated(found.values, report)

        return each(points, threads, element)
