"""The root that the projection on a power cone comes from.

For v = (u, w) outside K* and -K with W = |w| > 0, s is the point of K with s_i = (S_i - u_i) / 2, |s_w| = r, where
S_i = sqrt(u_i^2 + 4 a_i r (W - r)) and r in (0, W) is the root of

    sum a_i log s_i - log r = 0

(Hien, 2015). It is found as t = log(r / (W - r)), which holds r and W - r both to full relative accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import Resolution

STEPS = 100
"""Steps of the root search: Newton's where they shrink by half each time, else bisections."""

LARGEST = 80.0
"""|t| is at most this: one of r and W - r is then smaller than 1e-34 W."""

SMALLEST_W = 1e-30
"""A W smaller than this part of v counts as zero."""


@final
@dataclass(frozen=True, slots=True)
class PowerRoot:
    """v = y - s, and what D is made of; v is scaled to a largest entry of one.

    curved, flat: whether D is the formula of `derivative`, or the projection on the plane with `normal`; else it is
        diag(straight).
    kink: whether v is on a kink.
    a, u, S: exponents, entries and roots; r and rest = W - r; sign = sign w.
    normal: the unit normal of the boundary of K*, where s = 0.
    """

    y: Float[Any, "*B size"]
    kink: Bool[Any, "*B"]
    curved: Bool[Any, "*B 1"]
    straight: Float[Any, "*B size"]
    flat: Bool[Any, "*B 1"]
    normal: Float[Any, "*B size"]
    a: Float[Any, "*B k"]
    u: Float[Any, "*B k"]
    S: Float[Any, "*B k"]
    r: Float[Any, "*B 1"]
    rest: Float[Any, "*B 1"]
    sign: Float[Any, "*B 1"]
    scale: Float[Any, "*B 1"]

    def derivative(self, xp: Arrays) -> Float[Any, "*B size size"]:
        """D as a dense matrix."""
        h, g = (self.u + self.S) / (2 * self.S), self.a / self.S
        e = xp.sum(self.a * h, axis=-1)[..., None]
        d = (1 - e) / self.r + e / self.rest
        zero = xp.zeros_like(self.r)
        g_0, w_0 = xp.concat([g, zero], axis=-1), xp.concat([xp.zeros_like(g), self.sign], axis=-1)
        weight = ((self.rest - self.r) / d)[..., None]
        outer = -weight * g_0[..., :, None] * g_0[..., None, :]
        mixed = g_0[..., :, None] * w_0[..., None, :] + w_0[..., :, None] * g_0[..., None, :]
        own = xp.concat([h, (1 - e) / (self.r * d)], axis=-1)
        bent = outer + mixed / d[..., None] + diagonal(xp, own)
        ones = xp.ones_like(self.normal)
        plane = diagonal(xp, ones) - self.normal[..., :, None] * self.normal[..., None, :]
        constant = xp.where(self.flat[..., None], plane, diagonal(xp, self.straight))
        return xp.where(self.curved[..., None], bent, constant)

    def second_derivative(
        self, xp: Arrays, a: Float[Any, "*B size"], c: Float[Any, "*B size"]
    ) -> Float[Any, "*B size"]:
        """d/dv <a, D c> by the chain rule, through h, g, e, r, W and q = r (W - r) in turn:

        f = sum a_i c_i h_i + N / d,
        N = -(W - 2 r) A C + sg (A c_w + a_w C) + (1 - e) / r a_w c_w,  A = g'a,  C = g'c,
        dr = (-sum g_i du_i + e / (W - r) dW) / d.
        """
        a_u, c_u, a_w, c_w = a[..., :-1], c[..., :-1], a[..., -1:], c[..., -1:]
        S, u, r, rest, sign = self.S, self.u, self.r, self.rest, self.sign
        h, g = (u + S) / (2 * S), self.a / S
        e = xp.sum(self.a * h, axis=-1)[..., None]
        d = (1 - e) / r + e / rest
        q = r * rest
        A, C = (xp.sum(g * part, axis=-1)[..., None] for part in (a_u, c_u))
        gap, both = rest - r, a_w * c_w
        F = (-gap * A * C + sign * (A * c_w + a_w * C) + (1 - e) / r * both) / d
        F_e = (-both / r - F * (1 / rest - 1 / r)) / d
        F_r = (2 * A * C - (1 - e) / (r * r) * both - F * (e / (rest * rest) - (1 - e) / (r * r))) / d
        F_W = (-A * C + F * e / (rest * rest)) / d
        F_A, F_C = (-gap * C + sign * c_w) / d, (-gap * A + sign * a_w) / d
        H, G = a_u * c_u + F_e * self.a, F_A * a_u + F_C * c_u
        cube = S * S * S
        Q = xp.sum(-(H * u + 2 * G * self.a) * self.a / cube, axis=-1)[..., None]
        R = (F_r + Q * gap) / d
        by_u = (2 * H * q - G * u) * self.a / cube - R * g
        by_w = sign * (F_W + Q * r + R * e / rest)
        gradient = xp.concat([by_u, by_w], axis=-1) / self.scale
        return xp.where(self.curved, gradient, xp.zeros_like(gradient))


def solve_power(xp: Arrays, v: Float[Any, "*B size"], a: Float[Any, "*B k"], zero: Resolution | None) -> PowerRoot:
    """The root for v, with what is within `zero` of a kink taken to be on it."""
    scale = xp.amax(xp.abs(v), axis=-1)[..., None]
    dual, primal = xp.zeros_like(scale), xp.zeros_like(scale)
    if zero is not None:
        dual, primal = zero.dual[..., :1], zero.primal[..., :1]
    apex = scale <= dual
    scale = xp.where(scale > 0, scale, xp.ones_like(scale))
    dual, primal, v_1 = dual / scale, primal / scale, v / scale
    u, w = v_1[..., :-1], v_1[..., -1:]
    W, one, nothing = xp.abs(w), xp.ones_like(w), xp.zeros_like(w)
    sign = xp.where(w < 0, -one, one)
    on_axis = W <= SMALLEST_W

    depth_dual, normal = _depth(xp, u, W, sign, a, a)
    depth_polar, _ = _depth(xp, -u, W, sign, a, xp.ones_like(a))
    lowest, highest = -xp.amax(-u, axis=-1)[..., None], xp.amax(u, axis=-1)[..., None]
    in_dual = (depth_dual >= 0) | (on_axis & (lowest >= 0))
    in_polar = (depth_polar >= 0) | (on_axis & (highest <= 0))
    outside = ~(in_dual | in_polar | on_axis)

    t = _root(xp, xp.where(outside, u, -xp.ones_like(u)), xp.where(outside, W, 2 * one * u.shape[-1]), a)
    r, rest, S = _parts(xp, xp.where(outside, u, -xp.ones_like(u)), xp.where(outside, W, one), a, t)
    y_u = xp.where(u > 0, (u + S) / 2, 2 * a * r * rest / (S - xp.where(u > 0, -xp.ones_like(u), u)))
    s_u = xp.where(u < 0, (S - u) / 2, 2 * a * r * rest / (S + xp.where(u < 0, xp.ones_like(u), u)))
    y, s = xp.concat([y_u, sign * rest], axis=-1), xp.concat([s_u, -sign * r], axis=-1)
    y_size, s_size = (xp.sqrt(xp.sum(part * part, axis=-1))[..., None] for part in (y, s))

    # w = 0, with some u_i of each sign: the exponents of the negative ones decide which way y_w / w goes.
    negative = xp.where(u > 0, xp.zeros_like(a), a)
    balance = xp.sum(negative, axis=-1)[..., None] - 0.5
    filled = xp.where(u > 0, a / xp.where(u > 0, u, xp.ones_like(u)), xp.where(u < 0, -u, xp.ones_like(u)))
    even = xp.exp(2 * xp.sum(a * xp.log(filled), axis=-1))[..., None]
    share = xp.where(xp.abs(balance) <= BALANCED, 1 / (1 + even), xp.where(balance > 0, nothing, one))
    face = xp.concat([xp.maximum(u, xp.zeros_like(u)), nothing], axis=-1)
    face_diagonal = xp.concat([xp.where(u > dual, xp.ones_like(u), xp.zeros_like(u)), share], axis=-1)

    skin = in_dual & ~on_axis & (depth_dual <= primal)
    thin = outside & (s_size <= primal) & (y_size > dual)
    curved = outside & (s_size > primal) & (y_size > dual)
    inside = in_dual & ~apex & ~(on_axis & (lowest <= primal))
    edge = on_axis & ~in_polar & xp.any(xp.abs(u) <= xp.maximum(dual, primal), axis=-1)[..., None]
    rim = in_polar & ((depth_polar >= 0) & (depth_polar <= dual) | on_axis & (highest >= -dual))
    straight = xp.where(on_axis & ~in_polar & ~apex & ~inside, face_diagonal, xp.zeros_like(v_1))
    straight = xp.where(inside, xp.ones_like(v_1), straight)
    y_1 = xp.where(outside, y, xp.where(on_axis, face, xp.zeros_like(y)))
    return PowerRoot(
        y=xp.where(in_dual, v, xp.where(in_polar, xp.zeros_like(v), scale * y_1)),
        kink=(skin | thin | (outside & (y_size <= dual)) | edge | rim | apex)[..., 0],
        curved=curved,
        straight=straight,
        flat=skin | thin,
        normal=xp.where(skin, normal, s / xp.where(s_size > 0, s_size, one)),
        a=a,
        u=xp.where(outside, u, -xp.ones_like(u)),
        S=S,
        r=r,
        rest=rest,
        sign=sign,
        scale=scale,
    )


BALANCED = 1e-14
"""By how much a sum of exponents may miss 1/2."""


def _depth(xp: Arrays, u: Any, W: Any, sign: Any, a: Any, units: Any) -> tuple[Any, Any]:
    """How deep, to first order, v is inside {prod (u_i / units_i)^a_i >= W, u > 0, W > 0}, minus one where the signs
    are others; and the inward unit normal of the boundary there."""
    proper = (W > SMALLEST_W) & ~xp.any(u <= 0, axis=-1)[..., None]
    u, W = xp.where(proper, u, xp.ones_like(u)), xp.where(proper, W, xp.ones_like(W))
    excess = xp.sum(a * xp.log(u / units), axis=-1)[..., None] - xp.log(W)
    slope = xp.concat([a / u, -sign / W], axis=-1)
    size = xp.sqrt(xp.sum(slope * slope, axis=-1))[..., None]
    return xp.where(proper, excess / size, -xp.ones_like(W)), slope / size


def _parts(xp: Arrays, u: Any, W: Any, a: Any, t: Any) -> tuple[Any, Any, Any]:
    """r, W - r and S at t."""
    small = xp.exp(-xp.abs(t))
    large = W / (1 + small)
    r, rest = xp.where(t > 0, large, large * small), xp.where(t > 0, large * small, large)
    return r, rest, xp.sqrt(u * u + 4 * a * r * rest)


def _root(xp: Arrays, u: Any, W: Any, a: Any) -> Any:
    """t by Newton's method, safeguarded by bisection."""
    low, high = -LARGEST * xp.ones_like(W), LARGEST * xp.ones_like(W)
    t, before = xp.zeros_like(W), high - low
    for _ in range(STEPS):
        r, rest, S = _parts(xp, u, W, a, t)
        s = xp.where(u < 0, (S - u) / 2, 2 * a * r * rest / (S + xp.where(u < 0, xp.ones_like(u), u)))
        value = xp.sum(a * xp.log(s / r), axis=-1)[..., None]
        share = rest / W
        slope = xp.sum(a * a * r * rest * (rest - r) / (S * s), axis=-1)[..., None] / W - share
        low, high = xp.where(value > 0, t, low), xp.where(value > 0, high, t)
        newton = t - value / xp.where(slope < 0, slope, -xp.ones_like(slope))
        good = (slope < 0) & (newton > low) & (newton < high) & (xp.abs(newton - t) <= before / 2)
        step = xp.where(good, newton, (low + high) / 2)
        before = xp.abs(step - t)
        t = step
        if xp is np and not np.any(before > 4 * np.finfo(np.float64).eps * np.maximum(np.abs(t), 1.0)):
            break
    return t


def diagonal(xp: Arrays, entries: Float[Any, "*B size"]) -> Float[Any, "*B size size"]:
    """The diagonal matrix."""
    size = entries.shape[-1]
    columns = [
        xp.stack([entries[..., row] * (row == column) for row in range(size)], axis=-1) for column in range(size)
    ]
    return xp.stack(columns, axis=-1)
