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

STEPS = 80
"""Steps of the root search: Newton's where the bracket shrinks by half in two of them, else bisections."""

LARGEST_RATIO = 340.0
"""Rays with a larger |r| = |x/y| have exp(-2 |r|) = 0 beside 1, and are told from the face by nothing else."""


@final
@dataclass(frozen=True, slots=True)
class Rays:
    """v = y - s by its rays.

    basis: the columns d, p and c (unit vectors); on the face and inside the cones the identity.
    eigenvalues: those of D, in this basis.
    kink: whether v is on a kink.
    curved: whether v is outside all pieces on which D is constant.
    y_size, s_size: |y| and |s|; turn_d, turn_p: k_d and k_p; bend: (log(k_d / k_p))'.
    """

    y: Float[Any, "*B 3"]
    basis: Float[Any, "*B 3 3"]
    eigenvalues: Float[Any, "*B 3"]
    kink: Bool[Any, "*B"]
    curved: Bool[Any, "*B"]
    y_size: Float[Any, "*B"]
    s_size: Float[Any, "*B"]
    turn_d: Float[Any, "*B"]
    turn_p: Float[Any, "*B"]
    bend: Float[Any, "*B"]

    def second_derivative(self, xp: Arrays, a: Float[Any, "*B 3"], b: Float[Any, "*B 3"]) -> Float[Any, "*B 3"]:
        """d/dv <a, D b> of D = d d' + l c c', with w = |y| k_d + |s| k_p and

        dr = c'dv / w,   dd = k_d c dr,   dp = -k_p c dr,   dc = (k_p p - k_d d) dr,
        dl = k_d k_p (|s| d'dv + |y| p'dv) / w^2 + |y| |s| k_d k_p (log(k_d/k_p))' dr / w^2.
        """
        in_basis = xp.swapaxes(self.basis, -1, -2)
        a_d, a_p, a_c = _parts((in_basis @ a[..., None])[..., 0])
        b_d, b_p, b_c = _parts((in_basis @ b[..., None])[..., 0])
        w = self.y_size * self.turn_d + self.s_size * self.turn_p
        w = xp.where(self.curved, w, xp.ones_like(w))
        last = self.eigenvalues[..., 2]
        product = self.turn_d * self.turn_p / (w * w)
        turned = self.turn_d * (a_c * b_d + a_d * b_c) * (1 - last) + self.turn_p * (a_p * b_c + a_c * b_p) * last
        along_c = (turned + self.y_size * self.s_size * product * self.bend * a_c * b_c) / w
        both = a_c * b_c * product
        parts = xp.stack([both * self.s_size, both * self.y_size, along_c], axis=-1)
        gradient = (self.basis @ parts[..., None])[..., 0]
        return xp.where(self.curved[..., None], gradient, xp.zeros_like(gradient))


def decompose(xp: Arrays, v: Float[Any, "*B 3"], zero: Resolution | None) -> Rays:
    """The rays of v; what is within `zero` of a kink is taken to be on it."""
    size = xp.amax(xp.abs(v), axis=-1)
    dual, primal = xp.zeros_like(size), xp.zeros_like(size)
    if zero is not None:
        dual, primal = zero.dual[..., 0], zero.primal[..., 0]
    apex = size <= dual
    size = xp.where(size > 0, size, xp.ones_like(size))
    dual, primal = dual / size, primal / size
    v_1, v_2, v_3 = _parts(v / size[..., None])
    nothing, one = xp.zeros_like(v_1), xp.ones_like(v_1)

    depth_dual = _depth(xp, v_1, v_3, v_2 - v_1)
    depth_primal = _depth(xp, v_2, -v_3, v_1)
    in_dual = (depth_dual >= 0) | ((v_1 == 0) & (v_2 >= 0) & (v_3 >= 0))
    in_polar = (depth_primal >= 0) | ((v_2 == 0) & (v_1 >= 0) & (v_3 <= 0))
    # A point of K* whose first entry counts as zero is on the face.
    on_face = (v_1 >= -primal) & (v_2 >= 0) & ~in_polar & ((v_1 >= 0) | in_dual)
    outside = ~(in_dual | in_polar | on_face)

    # Inside K*, but within reach of its boundary: the ray of the boundary point with the same v_2 / v_1.
    skin = in_dual & ~on_face & (depth_dual >= 0) & (depth_dual <= primal)
    r = _root(xp, v_1, v_2, v_3, outside)
    r = xp.where(skin, _clip(xp, 1 - v_2 / xp.where(skin, v_1, -one)), r)

    p, d, turn_d, turn_p, bend = _turning(xp, r)
    s_size = xp.where(outside, -(v_1 * p[..., 0] + v_2 * p[..., 1] + v_3 * p[..., 2]), nothing)
    y_size = xp.where(outside | skin, v_1 * d[..., 0] + v_2 * d[..., 1] + v_3 * d[..., 2], nothing)
    s_size, y_size = (xp.maximum(part, nothing) for part in (s_size, y_size))
    curved = outside & (y_size > dual) & (s_size > primal)
    flat = (outside & (y_size > dual) & (s_size <= primal)) | skin
    vanishing = outside & (y_size <= dual)

    # Rounding of y = |y| d stays that of v: the smaller of y and s is taken from its ray, the other from Moreau.
    from_ray = y_size[..., None] * d
    from_slack = xp.stack([v_1, v_2, v_3], axis=-1) + s_size[..., None] * p
    y_outside = xp.where((y_size <= s_size)[..., None], from_ray, from_slack)
    face = xp.stack([nothing, v_2, xp.maximum(v_3, nothing)], axis=-1)
    y = xp.where(outside[..., None], y_outside, xp.where(on_face[..., None], face, xp.zeros_like(face)))
    y = xp.where(in_dual[..., None], v, size[..., None] * y)

    w = y_size * turn_d + s_size * turn_p
    last = xp.where(curved, y_size * turn_d / xp.where(curved, w, one), one)
    bent = xp.stack([one, nothing, xp.where(flat, one, last)], axis=-1)
    on_axes = xp.stack([nothing, xp.where(v_2 > dual, one, nothing), xp.where(v_3 > dual, one, nothing)], axis=-1)
    inside = xp.ones_like(bent) * xp.where(in_dual, one, nothing)[..., None]
    straight = xp.where(on_face[..., None], on_axes, inside)
    straight = xp.where(apex[..., None], xp.zeros_like(straight), straight)
    turned = curved | flat
    c = xp.stack(
        [
            d[..., 1] * p[..., 2] - d[..., 2] * p[..., 1],
            d[..., 2] * p[..., 0] - d[..., 0] * p[..., 2],
            d[..., 0] * p[..., 1] - d[..., 1] * p[..., 0],
        ],
        axis=-1,
    )
    frame = xp.stack([d, p, c], axis=-1)
    identity = diagonal(xp, xp.ones_like(bent))

    edge = on_face & ((v_1 <= dual) | (v_2 <= dual) | ((v_3 <= dual) & (v_3 >= -primal)))
    rim = in_polar & (((depth_primal >= 0) & (depth_primal <= dual)) | (v_2 >= -dual))
    kink = flat | vanishing | edge | rim | apex
    size_y, size_s = size * y_size, size * s_size
    return Rays(
        y,
        xp.where(turned[..., None, None], frame, identity),
        xp.where(turned[..., None], bent, straight),
        kink,
        curved,
        xp.where(curved, size_y, one),
        xp.where(curved, size_s, one),
        turn_d,
        turn_p,
        bend,
    )


def _parts(v: Any) -> tuple[Any, Any, Any]:
    return v[..., 0], v[..., 1], v[..., 2]


def _clip(xp: Arrays, r: Any) -> Any:
    limit = LARGEST_RATIO * xp.ones_like(r)
    return xp.maximum(xp.minimum(r, limit), -limit)


def _depth(xp: Arrays, first: Any, last: Any, rest: Any) -> Any:
    """How deep, to first order, a point is inside {-first log(-last / first) + rest >= 0, first < 0, last > 0}; minus
    one where these signs do not hold.

    With (v_1, v_3, v_2 - v_1) this is K*, with (v_2, -v_3, v_1) for v in -K it is K.
    """
    proper = (first < 0) & (last > 0)
    first, last = xp.where(proper, first, -xp.ones_like(first)), xp.where(proper, last, xp.ones_like(last))
    logarithm = xp.log(-last / first)
    slope = xp.sqrt(1 + logarithm * logarithm + (first / last) * (first / last))
    return xp.where(proper, (rest - first * logarithm) / slope, -xp.ones_like(first))


def _turning(xp: Arrays, r: Any) -> tuple[Any, Any, Any, Any, Any]:
    """The unit rays p and d at r, k_d, k_p and (log(k_d / k_p))', all from exponentials that do not overflow."""
    grown, shrunk = xp.exp(r - xp.abs(r)), xp.exp(-r - xp.abs(r))  # exp(+-r) exp(-|r|)
    base = xp.exp(-xp.abs(r))
    p = xp.stack([r * base, base, grown], axis=-1)
    d = xp.stack([-base, (r - 1) * base, shrunk], axis=-1)
    size_p, size_d = (xp.sqrt(xp.sum(ray * ray, axis=-1)) for ray in (p, d))
    m_d = grown + (r * r + 1) * shrunk
    m_p = (r * r - 2 * r + 2) * grown + shrunk
    turn_d, turn_p = m_d * base * base / (size_d * size_d * size_p), m_p * base * base / (size_d * size_p * size_p)
    log_p = (r * base * base + grown * grown) / (size_p * size_p)
    log_d = ((r - 1) * base * base - shrunk * shrunk) / (size_d * size_d)
    bend = (grown - (r - 1) * (r - 1) * shrunk) / m_d - (r * r * grown - shrunk) / m_p + log_p - log_d
    return p / size_p[..., None], d / size_d[..., None], turn_d, turn_p, bend


def _root(xp: Arrays, v_1: Any, v_2: Any, v_3: Any, outside: Any) -> Any:
    """The r of a point that is outside all special pieces; zero elsewhere."""
    one = xp.ones_like(v_1)
    v_1, v_2, v_3 = (xp.where(outside, part, value * one) for part, value in ((v_1, -1.0), (v_2, -1.0), (v_3, -1.0)))
    limit = LARGEST_RATIO * one
    safe_1, safe_2 = xp.where(v_1 == 0, one, v_1), xp.where(v_2 == 0, one, v_2)
    end_A, end_B = _clip(xp, 1 - v_2 / safe_1), _clip(xp, v_1 / safe_2)
    # A > 0: r above end_A if v_1 < 0, below it if v_1 > 0.  B > 0: r below end_B if v_2 < 0, above it if v_2 > 0.
    low = xp.maximum(xp.where(v_1 < 0, end_A, -limit), xp.where(v_2 > 0, end_B, -limit))
    high = xp.minimum(xp.where(v_1 > 0, end_A, limit), xp.where(v_2 < 0, end_B, limit))
    r = (low + high) / 2
    before = high - low
    for _ in range(STEPS):
        grown, shrunk = xp.exp(r - xp.abs(r)), xp.exp(-r - xp.abs(r))
        base = xp.exp(-xp.abs(r))
        h = v_3 * (r * r - r + 1) * base - v_2 * (grown + r * shrunk) - v_1 * ((r - 1) * grown - shrunk)
        slope = v_3 * (2 * r - 1) * base - v_2 * (grown + (1 - r) * shrunk) - v_1 * (r * grown + shrunk)
        above = h > 0
        low, high = xp.where(above, low, r), xp.where(above, r, high)
        newton = r - h / xp.where(slope > 0, slope, one)
        good = (slope > 0) & (newton >= low) & (newton <= high) & (xp.abs(newton - r) <= before / 2)
        step = xp.where(good, newton, (low + high) / 2)
        before = xp.abs(step - r)
        if xp is np and not np.any(before > np.finfo(np.float64).eps * np.abs(r)):
            return np.where(outside, step, 0.0)
        r = step
    return xp.where(outside, r, xp.zeros_like(r))
