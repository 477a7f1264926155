"""The zero cone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from jaxtyping import Bool, Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import AbstractCone, Resolution, Smoothed
from optlayers.cones.derivative import Diagonal


@final
@dataclass(frozen=True, slots=True)
class Zero(AbstractCone):
    """K = {0} in R^count, the cone of equality constraints; K* = R^count, so Pi(v) = v and D = I."""

    count: int

    separable: ClassVar[bool] = True

    @property
    def size(self) -> int:
        return self.count

    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        return v

    def derivative(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution | None = None) -> Diagonal:
        return Diagonal(xp.ones_like(v))

    def kinks(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution) -> Bool[Any, "*B kinks"]:
        return v != v  # nowhere

    def second_derivative(
        self, xp: Arrays, v: Float[Any, "*B size"], a: Float[Any, "*B size"], c: Float[Any, "*B size"]
    ) -> Float[Any, "*B size"]:
        return xp.zeros_like(v)

    def smoothed(self, xp: Arrays, v: Float[Any, "*B size"], mu: float) -> Smoothed:
        return Smoothed(v, Diagonal(xp.ones_like(v)))

    def active(self, xp: Arrays, y: Float[Any, "*B size"]) -> Bool[Any, "*B size"]:
        return xp.ones_like(y) > 0
