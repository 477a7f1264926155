"""The power cone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

from jaxtyping import Bool, Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import AbstractCone, Resolution, Smoothed
from optlayers.cones.barrier import Barrier, proximal_point
from optlayers.cones.derivative import Rotation
from optlayers.cones.diagonal import diagonal
from optlayers.cones.power_projection import PowerProjection, project

SUM_TOLERANCE = 1e-12
"""By how much the exponents may miss the sum 1."""


@final
@dataclass(frozen=True, slots=True)
class Power(AbstractCone):
    """K = {(u, w) in R^k x R : prod u_i^a_i >= |w|, u >= 0};  K* = {(u, w) : prod (u_i/a_i)^a_i >= |w|, u >= 0}.

    The exponents a_i are positive and sum to one. Outside K* and -K, with W = |w| and r in (0, W) the root of
    sum a_i log s_i = log r, y = Pi(u, w) and s have the entries (Hien, 2015)

        y_i = (S_i + u_i) / 2,  s_i = (S_i - u_i) / 2,  S_i = sqrt(u_i^2 + 4 a_i r (W - r)),  |y_w| = W - r,  |s_w| = r.

    D has the eigenvalue 1 along y and 0 along s; it is written out in `cones.power_root`.

    On the faces, where w = 0, Pi(u, 0) = (max(u, 0), 0) and D = diag(u > 0, l): l is 1 if the exponents of the negative
    u_i sum to less than 1/2, 0 if to more, and else a limit between them. Pi is differentiable there, if no u_i is 0;
    twice, if that sum is 1/2, less than 1/3 or more than 2/3. Else the second derivative, odd in w nearby, is taken to
    be zero.

    At kinks what is zero counts as slack: D = 0 where y = 0; where w and some u_i are 0, D is that of the face with u_i
    negative; D = I - nn' where s = 0 elsewhere on the boundary of K*, with the unit normal n.

    The barrier is f(u, w) = -log(prod (u_i/a_i)^(2 a_i) - w^2) - sum (1 - a_i) log u_i (Chares, 2009).
    """

    exponents: tuple[float, ...]

    separable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.exponents or not all(exponent > 0 for exponent in self.exponents):
            raise ValueError(f"the exponents of a power cone must be positive; they are {self.exponents}.")
        if not abs(math.fsum(self.exponents) - 1) <= SUM_TOLERANCE:
            raise ValueError(
                f"the exponents of a power cone must sum to one; {self.exponents} sum to {math.fsum(self.exponents)}."
            )

    @property
    def size(self) -> int:
        return len(self.exponents) + 1

    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        return self._project(xp, v, None).y

    def derivative(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution | None = None) -> Rotation:
        return self._project(xp, v, zero).derivative(xp)

    def kinks(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution) -> Bool[Any, "*B kinks"]:
        """One: whether y or s is zero with the other on the boundary, or w and some u_i are zero."""
        return self._project(xp, v, zero).kink[..., None]

    def second_derivative(
        self, xp: Arrays, v: Float[Any, "*B size"], a: Float[Any, "*B size"], c: Float[Any, "*B size"]
    ) -> Float[Any, "*B size"]:
        return self._project(xp, v, None).second_derivative(xp, a, c)

    def smoothed(self, xp: Arrays, v: Float[Any, "*B size"], mu: float) -> Smoothed:
        one = xp.ones_like(v[..., 0])
        interior = xp.stack([*(one for _ in self.exponents), 0 * one], axis=-1)
        return proximal_point(xp, self._barrier, interior, v, mu)

    def active(self, xp: Arrays, y: Float[Any, "*B size"]) -> Bool[Any, "*B size"]:
        return xp.broadcast_to(xp.any(y != 0, axis=-1)[..., None], y.shape)

    def _project(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution | None) -> PowerProjection:
        return project(xp, v, self._exponents(xp, v), zero)

    def _exponents(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B k"]:
        """The exponents, their sum's rounding taken off."""
        one, total = xp.ones_like(v[..., 0]), math.fsum(self.exponents)
        return xp.stack([exponent / total * one for exponent in self.exponents], axis=-1)

    def _barrier(self, xp: Arrays, y: Float[Any, "*B size"]) -> Barrier:
        """With z = p - w^2, p = prod (u_i/a_i)^(2 a_i): z' = (2 a_i p / u_i, -2 w), and z'' likewise."""
        u, w, a = y[..., :-1], y[..., -1:], self._exponents(xp, y)
        p = xp.exp(2 * xp.sum(a * xp.log(u / a), axis=-1))[..., None]
        z = p - w * w
        rates = xp.concat([2 * a / u, xp.zeros_like(w)], axis=-1)
        slope = xp.concat([2 * a * p / u, -2 * w], axis=-1)
        corner = xp.concat([(1 - a) / (u * u), xp.zeros_like(w)], axis=-1)
        own = xp.concat([2 * a * p / (u * u), 2 * xp.ones_like(w)], axis=-1) / z + corner
        bend = p[..., None] * rates[..., :, None] * rates[..., None, :] / z[..., None]
        unit = slope / z
        hessian = unit[..., :, None] * unit[..., None, :] - bend + diagonal(xp, own)
        return Barrier(-unit - xp.concat([(1 - a) / u, xp.zeros_like(w)], axis=-1), hessian)
