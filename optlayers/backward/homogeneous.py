"""The derivative by the homogeneous self-dual residual map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from optlayers.backward.abstract import AbstractBackward, Differentiated, Points, each, multiply_by
from optlayers.kkt import SymmetricSystem, differentiate_homogeneous


@final
@dataclass(frozen=True)
class Homogeneous(AbstractBackward):
    """LSMR on the homogeneous self-dual residual map: another set of equations that the solution satisfies, which gives
    the same derivative where the solution is regular (`kkt.homogeneous`). What `derivative="hsde"` asks for.

    At degenerate points it tends to the least-squares solution of minimum norm in the variables (x, v, w).
    """

    tolerance: float = 1e-12
    max_iterations: int = 20_000

    name: ClassVar[str] = "homogeneous"

    def multiply(
        self,
        system: SymmetricSystem,
        points: Points,
        vectors: Float[np.ndarray, "B k in"],
        transpose: bool,
        threads: int,
    ) -> list[Differentiated]:
        def element(place: int) -> Differentiated:
            linearization = points.linearization(place)
            derivative = differentiate_homogeneous(linearization, self.tolerance, self.max_iterations)
            return multiply_by(derivative, vectors[place], points.structure.n, transpose)

        return each(points, threads, element)
