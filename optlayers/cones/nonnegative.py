"""The nonnegative orthant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from jaxtyping import Bool, Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import AbstractCone, Resolution, Smoothed
from optlayers.cones.derivative import Diagonal


@final
@dataclass(frozen=True, slots=True)
class Nonnegative(AbstractCone):
    """K = {v in R^count : v >= 0}; self-dual, so Pi_{K*} = Pi_K.

    Pi(v) = max(v, 0) elementwise, D Pi(v) = diag(v > 0).

    Pi is not differentiable where v_i = 0. There the derivative is taken to be 0, which treats a weakly
    active constraint as inactive (docs/mathematics.md, "Degeneracy").
    """

    count: int

    separable: ClassVar[bool] = True

    @property
    def size(self) -> int:
        return self.count

    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        return xp.maximum(v, xp.zeros_like(v))

    def derivative(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution | None = None) -> Diagonal:
        return Diagonal(xp.where(v > (0 if zero is None else zero.dual), xp.ones_like(v), xp.zeros_like(v)))

    def kinks(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution) -> Bool[Any, "*B kinks"]:
        return (v <= zero.dual) & (v >= -zero.primal)

    def second_derivative(
        self, xp: Arrays, v: Float[Any, "*B size"], a: Float[Any, "*B size"], c: Float[Any, "*B size"]
    ) -> Float[Any, "*B size"]:
        return xp.zeros_like(v)

    def smoothed(self, xp: Arrays, v: Float[Any, "*B size"], mu: float) -> Smoothed:
        """y = (v + r) / 2 with r = sqrt(v^2 + 4 mu), so that y (y - v) = mu; D = y / r."""
        root = xp.sqrt(v * v + 4 * mu)
        far = (xp.abs(v) + root) / 2
        y = xp.where(v > 0, far, mu / far)
        return Smoothed(y, Diagonal(y / root))

    def active(self, xp: Arrays, y: Float[Any, "*B size"]) -> Bool[Any, "*B size"]:
        return y > 0
