"""The dual of a cone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from jaxtyping import Bool, Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import AbstractCone, Resolution, Smoothed
from optlayers.cones.derivative import AbstractDerivative


@final
@dataclass(frozen=True, slots=True)
class Dual(AbstractCone):
    """K* for a cone K: its own dual is K, so that here Pi = Pi_K.

    By Moreau Pi_K(v) = v + Pi_{K*}(-v). So v here is K's -v: what is multiplier here is slack there, the resolutions
    of both change places, and D = I - D_K(-v).

    The choice at kinks is K's seen from there: a part of v that is zero is slack of K, so here it counts as multiplier.
    The rows are scaled together, also where K is separable.
    """

    cone: AbstractCone

    separable: ClassVar[bool] = False

    @property
    def size(self) -> int:
        return self.cone.size

    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        return v + self.cone.project_dual(xp, -v)

    def derivative(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution | None = None) -> AbstractDerivative:
        return self.cone.derivative(xp, -v, None if zero is None else _seen_from_cone(zero)).complement(xp)

    def kinks(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution) -> Bool[Any, "*B kinks"]:
        return self.cone.kinks(xp, -v, _seen_from_cone(zero))

    def second_derivative(
        self, xp: Arrays, v: Float[Any, "*B size"], a: Float[Any, "*B size"], c: Float[Any, "*B size"]
    ) -> Float[Any, "*B size"]:
        """That of K at -v: the sign of D and the sign of v cancel."""
        return self.cone.second_derivative(xp, -v, a, c)

    def smoothed(self, xp: Arrays, v: Float[Any, "*B size"], mu: float) -> Smoothed:
        """y = v + w, D = I - D_w, where w = argmin over K* of mu f(w) + 1/2 |w + v|^2, f the barrier of K*.

        As w + v = -mu f'(w), y lies in K. It is the smoothing by the conjugate of f, which is a barrier of K.
        """
        other = self.cone.smoothed(xp, -v, mu)
        return Smoothed(v + other.y, other.derivative.complement(xp))

    def active(self, xp: Arrays, y: Float[Any, "*B size"]) -> Bool[Any, "*B size"]:
        moved = y != 0
        return moved if self.cone.separable else xp.broadcast_to(xp.any(moved, axis=-1)[..., None], y.shape)


def _seen_from_cone(zero: Resolution) -> Resolution:
    return Resolution(dual=zero.primal, primal=zero.dual)
