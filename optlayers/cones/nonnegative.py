"""The nonnegative orthant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import AbstractCone, Diagonal


@final
@dataclass(frozen=True, slots=True)
class Nonnegative(AbstractCone):
    """K = {v in R^count : v >= 0}; self-dual, so Pi_{K*} = Pi_K.

    Pi(v) = max(v, 0) elementwise, D Pi(v) = diag(v > 0).

    Pi is not differentiable where v_i = 0. There the derivative is taken to be 0, which treats a weakly
    active constraint as inactive (docs/mathematics.md, "Degeneracy").
    """

    count: int

    @property
    def size(self) -> int:
        return self.count

    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        return xp.maximum(v, xp.zeros_like(v))

    def derivative(self, xp: Arrays, v: Float[Any, "*B size"]) -> Diagonal:
        return Diagonal(xp.where(v > 0, xp.ones_like(v), xp.zeros_like(v)))
