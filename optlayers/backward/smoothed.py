"""The derivative of a smoothed solution map."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from optlayers.backward.abstract import AbstractBackward, Differentiated, Points, check_positive, each, multiply_by
from optlayers.kkt import CentralPoint, Derivative, SymmetricSystem, central_point


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Central:
    """A point of the central path, and the derivative there."""

    point: CentralPoint
    derivative: Derivative

    @property
    def bytes(self) -> int:
        return self.derivative.bytes

    def release(self) -> None:
        self.derivative.release()


@final
@dataclass(frozen=True)
class Smoothed(AbstractBackward):
    """The derivative at the point of the central path with barrier parameter `mu`, instead of at the solution.

    The point (x, y, s) there has y + mu f'(y) = y - s for the logarithmic barrier f of K*; for inequalities
    y_i s_i = mu. It moves smoothly with the parameters also where the solution does not: at a vertex of a linear
    program the derivative of the solution is zero, that of the smoothed map tells which way the parameters push. As mu
    tends to zero it tends to the derivative of the solution, wherever that exists.

    mu: in units of the objective; the duality gap of the point is mu times the degree of the barrier.
    tolerance: relative residual of the central point and of the linear system.
    max_iterations: most Newton steps to the central point.

    A central point that is not reached is reported by its residual. Source: for linear programs, Mandi and Guns (2020).
    """

    mu: float = 1e-3
    tolerance: float = 1e-10
    max_iterations: int = 100

    name: ClassVar[str] = "smoothed"

    twice_differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive(self.name, "mu", self.mu)
        AbstractBackward.__post_init__(self)

    def multiply(
        self,
        system: SymmetricSystem,
        points: Points,
        vectors: Float[np.ndarray, "B k in"],
        transpose: bool,
        threads: int,
    ) -> list[Differentiated]:
        structure = points.structure
        _, form = structure.cones.smoothed(np, np.zeros(structure.m), self.mu)
        smooth_system = SymmetricSystem(structure, form)

        def followed(point: Points) -> _Central:
            central = central_point(
                smooth_system, point.linearization(0), point.v[0], self.mu, self.tolerance, self.max_iterations
            )
            return _Central(central, Derivative(smooth_system, central.linearization, self.tolerance))

        def element(place: int) -> Differentiated:
            with points.single(place).computed(self, followed) as at:
                central, found = at.point, multiply_by(at.derivative, vectors[place], structure.n, transpose)
            return Differentiated(
                found.values,
                dataclasses.replace(
                    found.report,
                    residual=max(found.report.residual, central.residual),
                    iterations=central.steps,
                    method=self.name,
                    error=max(found.report.error, central.error),
                ),
            )

        return each(points, threads, element)
