"""The zero cone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import AbstractCone, Diagonal


@final
@dataclass(frozen=True, slots=True)
class Zero(AbstractCone):
    """K = {0} in R^count, the cone of equality constraints; K* = R^count, so Pi(v) = v and D = I."""

    count: int

    @property
    def size(self) -> int:
        return self.count

    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        return v

    def derivative(self, xp: Arrays, v: Float[Any, "*B size"]) -> Diagonal:
        return Diagonal(xp.ones_like(v))
