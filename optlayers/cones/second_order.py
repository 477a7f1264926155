"""The second-order cone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Bool, Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import AbstractCone, Resolution, Smoothed
from optlayers.cones.derivative import Expansion, Rotation
from optlayers.cones.spectral import divided_difference, is_zero, positive_part, smoothed_positive_part


@final
@dataclass(frozen=True, slots=True)
class SecondOrder(AbstractCone):
    """K = {(t, z) in R^dimension : |z| <= t}; self-dual, so Pi_{K*} = Pi_K.

    With zb = z/|z| and e+- = (1, +-zb)/sqrt 2, v has the spectral values t + |z| along e+ and t - |z| along e-, and Pi
    replaces both by their positive parts (Fukushima, Luo and Tseng, 2002). Hence Pi(v) = v and D = I in K*, Pi(v) = 0
    and D = 0 in -K, and elsewhere

        Pi(v) = (t + |z|)/2 (1, zb),   D = w I + (1 - w) e+ e+' - w e- e-',   w = (t + |z|) / (2 |z|).

    Pi is not differentiable where a spectral value is zero. There the value is taken to be not positive: on the
    boundary of K* (t = |z|) D is that of the outside, with w = 1; on the boundary of -K, the apex included, D = 0.

    The barrier is f(v) = -1/2 log(t^2 - |z|^2), whose smoothing acts on the spectral values as on the orthant's rows.
    With dimension = 1 the cone is a ray, and both spectral values are t.
    """

    dimension: int

    separable: ClassVar[bool] = False

    @property
    def size(self) -> int:
        return self.dimension

    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        spectrum = _spectrum(xp, v)
        inside = spectrum.values[..., 1:] >= 0
        return xp.where(inside, v, spectrum.compose(positive_part(xp, spectrum.values, None).value))

    def derivative(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution | None = None) -> Expansion:
        spectrum = _spectrum(xp, v)
        part = positive_part(xp, spectrum.values, zero)
        outside = (part.value[..., :1] > 0) & (part.value[..., 1:] <= 0)
        nowhere = xp.zeros_like(v)
        return Expansion(
            divided_difference(xp, part.value[..., 0], part.value[..., 1], part.root[..., 0], part.root[..., 1]),
            one=xp.where(outside, (spectrum.axis + spectrum.direction) / math.sqrt(2), nowhere),
            null=xp.where(outside, (spectrum.axis - spectrum.direction) / math.sqrt(2), nowhere),
        )

    def kinks(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution) -> Bool[Any, "*B kinks"]:
        """One for each spectral value, of which a ray has a single one."""
        return is_zero(_spectrum(xp, v).values[..., : self.dimension], zero)

    def second_derivative(
        self, xp: Arrays, v: Float[Any, "*B size"], a: Float[Any, "*B size"], c: Float[Any, "*B size"]
    ) -> Float[Any, "*B size"]:
        """Outside both polar regions, with tau = t/|z|, alpha = zb'a_z and a_perp = (0, a_z - alpha zb), and beta and
        c_perp likewise from c,

            1 / (2 |z|) [a_perp'c_perp (1, -tau zb) + (a_t - tau alpha) c_perp + (c_t - tau beta) a_perp]
        """
        spectrum = _spectrum(xp, v)
        outside = (spectrum.values[..., :1] > 0) & (spectrum.values[..., 1:] <= 0)
        radius = xp.where(outside, spectrum.radius, xp.ones_like(spectrum.radius))
        axis, direction = spectrum.axis, spectrum.direction
        tau = v[..., :1] / radius
        alpha, beta = (xp.sum(direction * part, axis=-1)[..., None] for part in (a, c))
        a_perp, c_perp = (part - part[..., :1] * axis - along * direction for part, along in ((a, alpha), (c, beta)))
        bend = xp.sum(a_perp * c_perp, axis=-1)[..., None] * (axis - tau * direction)
        turn = (a[..., :1] - tau * alpha) * c_perp + (c[..., :1] - tau * beta) * a_perp
        return xp.where(outside, (bend + turn) / (2 * radius), xp.zeros_like(bend))

    def smoothed(self, xp: Arrays, v: Float[Any, "*B size"], mu: float) -> Smoothed:
        """D has the divided differences of the smoothed positive part for eigenvalues, on e+, on e-, elsewhere."""
        spectrum = _spectrum(xp, v)
        part = smoothed_positive_part(xp, spectrum.values, mu)
        (f_1, f_2), (r_1, r_2) = ((pair[..., :1], pair[..., 1:]) for pair in (part.value, part.root))
        along = part.value / part.root
        rest = xp.broadcast_to(divided_difference(xp, f_1, f_2, r_1, r_2), (*v.shape[:-1], max(self.dimension - 2, 0)))
        eigenvalues = xp.concat([along[..., : self.dimension], rest], axis=-1)
        return Smoothed(spectrum.compose(part.value), Rotation(_basis(xp, spectrum), eigenvalues))

    def active(self, xp: Arrays, y: Float[Any, "*B size"]) -> Bool[Any, "*B size"]:
        return xp.broadcast_to(y[..., :1] > 0, y.shape)


@final
@dataclass(frozen=True, slots=True)
class _Spectrum:
    """v = t axis + |z| direction with axis = (1, 0), direction = (0, z/|z|), zero where z = 0; radius = |z|; and the
    spectral values t + |z|, t - |z|."""

    values: Float[Any, "*B 2"]
    radius: Float[Any, "*B 1"]
    axis: Float[Any, "*B size"]
    direction: Float[Any, "*B size"]

    def compose(self, values: Float[Any, "*B 2"]) -> Float[Any, "*B size"]:
        """The point with the given spectral values in place of v's."""
        first, last = values[..., :1], values[..., 1:]
        return (first + last) / 2 * self.axis + (first - last) / 2 * self.direction


def _spectrum(xp: Arrays, v: Float[Any, "*B size"]) -> _Spectrum:
    """The spectrum of v; the largest |z_i| is taken out of the norm, so that no square overflows or underflows."""
    t = v[..., :1]
    axis = xp.concat([xp.ones_like(t), xp.zeros_like(v[..., 1:])], axis=-1)
    z = xp.concat([xp.zeros_like(t), v[..., 1:]], axis=-1)
    largest = xp.amax(xp.abs(z), axis=-1)[..., None]
    nonzero = largest > 0
    scaled = z / xp.where(nonzero, largest, xp.ones_like(largest))
    norm = xp.sqrt(xp.where(nonzero, xp.sum(scaled * scaled, axis=-1)[..., None], xp.ones_like(largest)))
    radius = largest * norm
    return _Spectrum(xp.concat([t + radius, t - radius], axis=-1), radius, axis, scaled / norm)


def _basis(xp: Arrays, spectrum: _Spectrum) -> Float[Any, "*B size size"]:
    """An orthogonal matrix whose first columns are e+ and e-; where z = 0, those of zb = (1, 0, ..., 0).

    The other columns are (0, H_k), H = I - 2 u u'/u'u the reflection that takes zb to -+ its first unit vector.
    """
    axis, direction = spectrum.axis, spectrum.direction
    size = axis.shape[-1]
    if size == 1:
        return axis[..., None]
    digits = xp.concat([xp.zeros_like(spectrum.radius), xp.ones_like(spectrum.radius)], axis=-1)
    identity = digits[..., np.eye(size, dtype=np.int64)]
    direction = xp.where(spectrum.radius > 0, direction, identity[..., 1])
    lead = direction[..., 1:2]
    u = direction + xp.where(lead < 0, -xp.ones_like(lead), xp.ones_like(lead)) * identity[..., 1]
    reflection = identity - u[..., :, None] * u[..., None, :] / (1 + xp.abs(lead))[..., None]
    pair = xp.stack([(axis + direction) / math.sqrt(2), (axis - direction) / math.sqrt(2)], axis=-1)
    return xp.concat([pair, reflection[..., 2:]], axis=-1)
