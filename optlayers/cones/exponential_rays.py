"""The orthogonal boundary rays of the exponential cone and its dual that a point is made of.

    p(r) = (r, 1, exp r) spans the boundary of K,   d(r) = (-1, r - 1, exp -r) that of K*,   p(r)'d(r) = 0.

A point outside K*, -K and the face of K* is v = B d(r) - A p(r) with A, B > 0 for one r only, the root of the
determinant

    h(r) = v_3 (r^2 - r + 1) - v_2 (exp r + r exp -r) - v_1 ((r - 1) exp r - exp -r),

on the interval where A = -((r - 1) v_1 + v_2) / (r^2 - r + 1) and B = (r v_2 - v_1) / (r^2 - r + 1) are positive, on
which h rises (Friberg, 2023). With c = d x p,

    c'd' = exp r + (r^2 + 1) exp -r = m_d > 0,    -c'p' = (r^2 - 2 r + 2) exp r + exp -r = m_p > 0,

the unit rays turn at the rates k_d = m_d / (|d|^2 |p|) towards c and k_p = m_p / (|d| |p|^2) away from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import Resolution
from optlayers.cones.diagonal import diagonal

STEPS = 40
"""Steps of the root search. Of a million points of all kinds none took more than thirty."""

RESOLVED = 2.0**-50
"""The miss of v by its rays, relative to |v|, that rounding makes: four units in the last place."""

LARGEST_RATIO = 750.0
"""For |r| = |x/y| above this exp(-|r|) = 0 in double precision, and the root is an end of its interval."""

SLOWEST = 1e-290
"""Rays of v / |v| that turn at a smaller rate w are taken for fixed, so that no quotient by w overflows."""

FARTHEST = 1e17
"""Rays with a larger |r| cannot be told from the face in double precision; the square of this is a single."""


@final
@dataclass(frozen=True, slots=True)
class Rays:
    """v = y - s by its rays.

    basis: the columns d, p and c (unit vectors); on the face and inside the cones the identity.
    eigenvalues: those of D, in this basis.
    kink: whether v is on a kink.
    turned: whether the basis is that of the rays, elsewhere D is constant.
    size: the largest |v_i|; y_size, s_size: |y| and |s| by it; turn_d, turn_p: k_d and k_p; bend: (log(k_d / k_p))'.
    """

    y: Float[Any, "*B 3"]
    basis: Float[Any, "*B 3 3"]
    eigenvalues: Float[Any, "*B 3"]
    kink: Bool[Any, "*B"]
    turned: Bool[Any, "*B"]
    size: Float[Any, "*B"]
    y_size: Float[Any, "*B"]
    s_size: Float[Any, "*B"]
    turn_d: Float[Any, "*B"]
    turn_p: Float[Any, "*B"]
    bend: Float[Any, "*B"]

    def second_derivative(self, xp: Arrays, a: Float[Any, "*B 3"], b: Float[Any, "*B 3"]) -> Float[Any, "*B 3"]:
        """d/dv <a, D b> of D = d d' + l c c', with w = |y| k_d + |s| k_p and

        dr = c'dv / w,   dd = k_d c dr,   dp = -k_p c dr,   dc = (k_p p - k_d d) dr,
        dl = k_d k_p (|s| d'dv + |y| p'dv) / w^2 + l (1 - l) (log(k_d/k_p))' dr.
        """
        in_basis = xp.swapaxes(self.basis, -1, -2)
        a_d, a_p, a_c = _parts((in_basis @ a[..., None])[..., 0])
        b_d, b_p, b_c = _parts((in_basis @ b[..., None])[..., 0])
        w = _rate(xp, self.y_size * self.turn_d + self.s_size * self.turn_p)
        last = self.eigenvalues[..., 2]
        rate_d, rate_p = self.turn_d / w, self.turn_p / w
        along_c = rate_d * (a_c * b_d + a_d * b_c) * (1 - last) + rate_p * (a_p * b_c + a_c * b_p) * last
        along_c = along_c + last * (1 - last) * self.bend * a_c * b_c / w
        along_d, along_p = rate_d * (rate_p * self.s_size), rate_p * (rate_d * self.y_size)
        parts = xp.stack([a_c * b_c * along_d, a_c * b_c * along_p, along_c], axis=-1)
        gradient = (self.basis @ parts[..., None])[..., 0]
        return xp.where(self.turned[..., None], gradient, xp.zeros_like(gradient)) / self.size[..., None]


def decompose(xp: Arrays, v: Float[Any, "*B 3"], zero: Resolution | None) -> Rays:
    """The rays of v; what is within `zero` of a kink is taken to be on it."""
    size = xp.amax(xp.abs(v), axis=-1)
    dual, primal = xp.zeros_like(size), xp.zeros_like(size)
    if zero is not None:
        dual, primal = zero.dual[..., 0], zero.primal[..., 0]
    apex = size <= dual
    size = xp.where(apex, xp.ones_like(size), size)
    dual, primal = dual / size, primal / size
    v_1, v_2, v_3 = _parts(v / size[..., None])
    nothing, one = xp.zeros_like(v_1), xp.ones_like(v_1)

    depth_dual = _depth(xp, v_1, v_3, v_2 - v_1)
    depth_primal = _depth(xp, v_2, -v_3, v_1)
    in_dual = (depth_dual >= 0) | ((v_1 == 0) & (v_2 >= 0) & (v_3 >= 0))
    in_polar = (depth_primal >= 0) | ((v_2 == 0) & (v_1 >= 0) & (v_3 <= 0))
    on_face = (v_1 >= 0) & (v_2 >= 0) & ~in_polar
    outside = ~(in_dual | in_polar | on_face)
    # D is that of the face as soon as v_1 and v_2 may be on its edges.
    level = (v_1 >= -primal) & (v_2 >= -primal) & ~in_polar

    # Inside K*, but within reach of its boundary: the ray of the boundary point with the same v_2 / v_1.
    skin = ~level & (depth_dual >= 0) & (depth_dual <= primal)
    r = _root(xp, v_1, v_2, v_3, outside)
    r = xp.where(skin, _clip(xp, 1 - _quotient(xp, v_2, xp.where(skin, v_1, -one)), FARTHEST), r)

    p, d, turn_d, turn_p, bend = _turning(xp, r)
    s_size = xp.where(outside, -(v_1 * p[..., 0] + v_2 * p[..., 1] + v_3 * p[..., 2]), nothing)
    y_size = xp.where(outside | skin, v_1 * d[..., 0] + v_2 * d[..., 1] + v_3 * d[..., 2], nothing)
    s_size, y_size = (xp.maximum(part, nothing) for part in (s_size, y_size))
    turned = (outside | skin) & ~level & ~apex & (y_size > dual)
    flat = turned & (s_size <= primal)

    # Rounding of y = |y| d stays that of v: the smaller of y and s is taken from its ray, the other from Moreau.
    from_ray = y_size[..., None] * d
    from_slack = xp.stack([v_1, v_2, v_3], axis=-1) + s_size[..., None] * p
    y_outside = xp.where((y_size <= s_size)[..., None], from_ray, from_slack)
    face = xp.stack([nothing, v_2, xp.maximum(v_3, nothing)], axis=-1)
    y = xp.where(outside[..., None], y_outside, xp.where(on_face[..., None], face, xp.zeros_like(face)))
    y = xp.where(in_dual[..., None], v, size[..., None] * y)

    last = xp.where(flat, one, y_size * turn_d / _rate(xp, y_size * turn_d + s_size * turn_p))
    bent = xp.stack([one, nothing, last], axis=-1)
    on_axes = xp.stack([nothing, xp.where(v_2 > dual, one, nothing), xp.where(v_3 > dual, one, nothing)], axis=-1)
    inside = xp.ones_like(bent) * xp.where(in_dual, one, nothing)[..., None]
    straight = xp.where(level[..., None], on_axes, inside)
    straight = xp.where(apex[..., None], xp.zeros_like(straight), straight)
    c = xp.stack(
        [
            d[..., 1] * p[..., 2] - d[..., 2] * p[..., 1],
            d[..., 2] * p[..., 0] - d[..., 0] * p[..., 2],
            d[..., 0] * p[..., 1] - d[..., 1] * p[..., 0],
        ],
        axis=-1,
    )
    frame = xp.stack([d, p, c], axis=-1)

    edge = level & ((v_1 <= primal) | (v_2 <= dual) | ((v_3 <= dual) & (v_3 >= -primal)))
    rim = in_polar & (depth_primal <= dual)
    vanishing = outside & (y_size <= dual)
    return Rays(
        y=y,
        basis=xp.where(turned[..., None, None], frame, diagonal(xp, xp.ones_like(bent))),
        eigenvalues=xp.where(turned[..., None], bent, straight),
        kink=flat | vanishing | edge | rim | apex,
        turned=turned,
        size=size,
        y_size=y_size,
        s_size=s_size,
        turn_d=turn_d,
        turn_p=turn_p,
        bend=bend,
    )


def _parts(v: Any) -> tuple[Any, Any, Any]:
    return v[..., 0], v[..., 1], v[..., 2]


def _rate(xp: Arrays, w: Any) -> Any:
    """w, or one where it is too small to divide by."""
    return xp.where(w > SLOWEST, w, xp.ones_like(w))


def _clip(xp: Arrays, r: Any, limit: float) -> Any:
    bound = limit * xp.ones_like(r)
    return xp.maximum(xp.minimum(r, bound), -bound)


def _depth(xp: Arrays, first: Any, last: Any, rest: Any) -> Any:
    """An upper bound of the distance of a point of {g >= 0, first < 0, last > 0} to the boundary, tight near it; minus
    one elsewhere. g = rest - first log(-last / first) is concave, so that g / |g'| is a bound, as the signs are.

    With (v_1, v_3, v_2 - v_1) this is K*, with (v_2, -v_3, v_1) for v in -K it is K.
    """
    proper = (first < 0) & (last > 0)
    first, last = xp.where(proper, first, -xp.ones_like(first)), xp.where(proper, last, xp.ones_like(last))
    logarithm = xp.log(last) - xp.log(-first)
    larger = xp.maximum(last, -first)
    part_1, part_3 = first / larger, last / larger
    slope = xp.sqrt(part_3 * part_3 * (1 + logarithm * logarithm) + part_1 * part_1)  # |g'| last / larger
    g = rest - first * logarithm
    depth = xp.minimum(part_3 * g / slope, xp.minimum(last, -first))
    return xp.where(proper & (g >= 0), depth, -xp.ones_like(first))


def _turning(xp: Arrays, r: Any) -> tuple[Any, Any, Any, Any, Any]:
    """The unit rays p and d at r, k_d, k_p and (log(k_d / k_p))', all from exponentials that do not overflow."""
    up, down = _exponentials(xp, r)
    p = xp.stack([r * down, down, up], axis=-1)
    d = xp.stack([-up, (r - 1) * up, down], axis=-1)
    size_p, size_d = (xp.sqrt(xp.sum(ray * ray, axis=-1)) for ray in (p, d))
    up_2, down_2 = up * up, down * down
    m_d = up_2 + (r * r + 1) * down_2
    m_p = (r * r - 2 * r + 2) * up_2 + down_2
    turn_d, turn_p = m_d * up / (size_d * size_d * size_p), m_p * down / (size_d * size_p * size_p)
    log_p = (r * down_2 + up_2) / (size_p * size_p)
    log_d = ((r - 1) * up_2 - down_2) / (size_d * size_d)
    bend = (up_2 - (r - 1) * (r - 1) * down_2) / m_d - (r * r * up_2 - down_2) / m_p + log_p - log_d
    return p / size_p[..., None], d / size_d[..., None], turn_d, turn_p, bend


def _exponentials(xp: Arrays, r: Any) -> tuple[Any, Any]:
    """exp min(r, 0) and exp min(-r, 0): their product is exp -|r|, their quotient exp r."""
    nothing = xp.zeros_like(r)
    return xp.exp(xp.minimum(r, nothing)), xp.exp(xp.minimum(-r, nothing))


def _root(xp: Arrays, v_1: Any, v_2: Any, v_3: Any, outside: Any) -> Any:
    """The r of a point that is outside all special pieces; zero elsewhere.

    Newton's method on h exp(-|r|), and bisection where that leaves the bracket or does not halve its steps. The result
    is the r that was seen with the least miss, the largest of |v'c|, v'p and -v'd for the unit rays: the projection is
    non-expansive and exact for the point without these parts, so that the miss bounds the error of y. Rounding of
    v'p and -v'd is no reason against an r.
    """
    one = xp.ones_like(v_1)
    v_1, v_2, v_3 = (xp.where(outside, part, -one) for part in (v_1, v_2, v_3))
    low, high = _interval(xp, v_1, v_2)
    r = _first_ratio(xp, v_1, v_2, v_3, low, high)
    last, before = high - low, high - low
    best, least, settled = r, 2 * one, one < 0
    for _ in range(STEPS):
        up, down = _exponentials(xp, r)
        up_2, down_2, base = up * up, down * down, up * down
        h = v_3 * (r * r - r + 1) * base - v_2 * (up_2 + r * down_2) - v_1 * ((r - 1) * up_2 - down_2)
        rise = v_3 * (2 * r - 1) * base - v_2 * (up_2 + (1 - r) * down_2) - v_1 * (r * up_2 + down_2)
        slope = rise - xp.sign(r) * h
        size_p = xp.sqrt((r * r + 1) * down_2 + up_2)
        size_d = xp.sqrt(((r - 1) * (r - 1) + 1) * up_2 + down_2)
        along_p = ((v_1 * r + v_2) * down + v_3 * up) / size_p
        along_d = ((v_2 * (r - 1) - v_1) * up + v_3 * down) / size_d
        miss = xp.maximum(xp.abs(h) / (size_p * size_d), xp.maximum(along_p, -along_d) - RESOLVED)
        better = miss < least
        best, least = xp.where(better, r, best), xp.minimum(miss, least)
        settled = settled | ((least <= RESOLVED) & ~better)
        if xp is np and np.all(settled):
            break
        low, high = xp.where(h > 0, low, r), xp.where(h > 0, r, high)
        newton = r - h / xp.where(slope > 0, slope, one)
        good = (slope > 0) & (newton >= low) & (newton <= high) & (xp.abs(newton - r) <= before / 2)
        step = xp.where(good, newton, (low + high) / 2)
        last, before = xp.abs(step - r), last
        r = step
    return xp.where(outside, best, xp.zeros_like(best))


def _interval(xp: Arrays, v_1: Any, v_2: Any) -> tuple[Any, Any]:
    """Where A, B > 0: r above end_A if v_1 < 0, below it if v_1 > 0; r below end_B if v_2 < 0, above it if v_2 > 0.

    Beyond the largest ratio h exp(-|r|) is -v_2 - v_1 (r - 1) above and v_1 - v_2 r below, which vanish at an end.
    """
    one = xp.ones_like(v_1)
    limit = LARGEST_RATIO * one
    end_A = _clip(xp, 1 - _quotient(xp, v_2, v_1), FARTHEST)
    end_B = _clip(xp, _quotient(xp, v_1, v_2), FARTHEST)
    low = xp.maximum(xp.where(v_1 < 0, end_A, -limit), xp.where(v_2 > 0, end_B, -limit))
    high = xp.minimum(xp.where(v_1 > 0, end_A, limit), xp.where(v_2 < 0, end_B, limit))
    far_up, far_down = (v_1 < 0) & (end_A > limit), (v_2 < 0) & (end_B < -limit)
    return xp.where(far_down, high, low), xp.where(far_up, low, high)


def _quotient(xp: Arrays, a: Any, b: Any) -> Any:
    """a / b, bounded by `FARTHEST` so that it does not overflow; of no meaning where b = 0."""
    least = xp.abs(a) / FARTHEST
    tiny = xp.abs(b) <= least
    sign = xp.where(b < 0, -xp.ones_like(b), xp.ones_like(b))
    return xp.where(tiny, FARTHEST * sign * xp.sign(a), a / xp.where(tiny, xp.ones_like(b), b))


def _first_ratio(xp: Arrays, v_1: Any, v_2: Any, v_3: Any, low: Any, high: Any) -> Any:
    """A first r: exp -r = -v_3 / v_1 as in d(r), or exp r = v_3 / v_2 as in p(r), or the middle."""
    one, middle = xp.ones_like(v_1), (low + high) / 2
    of_y, of_s = (v_1 < 0) & (v_3 > 0), (v_2 < 0) & (v_3 < 0)
    third = xp.log(xp.where(of_y | of_s, xp.abs(v_3), one))
    from_y = xp.log(xp.where(of_y, -v_1, one)) - third
    from_s = third - xp.log(xp.where(of_s, -v_2, one))
    r = xp.where(of_y, from_y, xp.where(of_s, from_s, middle))
    return xp.where((r > low) & (r < high), r, middle)
