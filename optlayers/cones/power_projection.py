"""The projection on the dual of a power cone: which of its pieces a point is on, and the derivatives there.

The pieces of Pi at v = (u, w) are the identity in K*, zero in -K, the projection (max(u, 0), 0) on a face where w = 0,
and the curved one of `cones.power_root` elsewhere. Between them, where Pi has kinks, D is a documented choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Bool, Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import Resolution
from optlayers.cones.derivative import Rotation
from optlayers.cones.diagonal import diagonal
from optlayers.cones.power_root import PowerRoot, find_root

SMALLEST_W = 1e-30
"""A W smaller than this part of the largest entry of v counts as zero."""

BALANCED = 1e-14
"""By how much a sum of exponents may miss 1/2 and count as 1/2: their rounding."""


@final
@dataclass(frozen=True, slots=True)
class PowerProjection:
    """y = Pi(v), and what its derivatives are made of.

    kink: whether v is on a kink.
    curved: whether D is that of `root`, which is for v / scale.
    flat: whether D = I - normal normal'; else, and if not curved, D = diag(straight).
    bend: the derivative by u of the last entry of `straight`, for v / scale.
    """

    y: Float[Any, "*B size"]
    kink: Bool[Any, "*B"]
    curved: Bool[Any, "*B 1"]
    root: PowerRoot
    scale: Float[Any, "*B 1"]
    flat: Bool[Any, "*B 1"]
    normal: Float[Any, "*B size"]
    straight: Float[Any, "*B size"]
    bend: Float[Any, "*B k"]

    def derivative(self, xp: Arrays) -> Rotation:
        """D by its eigenvectors.

        The curved D has the eigenvalue 1 along y and 0 along s. D + yy'/|y|^2 - ss'/|s|^2 has 2 and -1 instead, which
        sets them apart from the others, those in [0, 1], and the spectrum is clipped to [0, 1] afterwards.
        """
        y, s = _unit(xp, self.root.y(xp)), _unit(xp, self.root.s(xp))
        curved = self.root.derivative(xp) + _outer(y) - _outer(s)
        flat = diagonal(xp, xp.ones_like(y)) - 2 * _outer(self.normal)
        rest = xp.where(self.flat[..., None], flat, diagonal(xp, self.straight))
        eigenvalues, basis = xp.linalg.eigh(xp.where(self.curved[..., None], curved, rest))
        convex = xp.maximum(eigenvalues, xp.zeros_like(eigenvalues))
        return Rotation(basis, xp.minimum(convex, xp.ones_like(convex)))

    def second_derivative(
        self, xp: Arrays, a: Float[Any, "*B size"], c: Float[Any, "*B size"]
    ) -> Float[Any, "*B size"]:
        """d/dv <a, D c>: on the boundary of K*, where D is flat, the limit of the curved piece.

        It is symmetric in a, c and the direction of v, and even in w: on a face it has entries in u, w, w only,
        those of `bend`.
        """
        a_w, c_w = a[..., -1:], c[..., -1:]
        along_w = xp.sum(self.bend * (a[..., :-1] * c_w + c[..., :-1] * a_w), axis=-1)[..., None]
        straight = xp.concat([self.bend * a_w * c_w, along_w], axis=-1)
        return xp.where(self.curved | self.flat, self.root.second_derivative(xp, a, c), straight) / self.scale


def project(xp: Arrays, v: Float[Any, "*B size"], a: Float[Any, "*B k"], zero: Resolution | None) -> PowerProjection:
    """The projection of v on K* for the exponents a, with what is within `zero` of a kink taken to be on it."""
    scale = xp.amax(xp.abs(v), axis=-1)[..., None]
    scale = xp.where(scale > 0, scale, xp.ones_like(scale))
    dual, primal = xp.zeros_like(scale), xp.zeros_like(scale)
    if zero is not None:
        dual, primal = zero.dual[..., :1] / scale, zero.primal[..., :1] / scale
    u, w = (v / scale)[..., :-1], (v / scale)[..., -1:]
    W, one, nothing = xp.abs(w), xp.ones_like(w), xp.zeros_like(w)

    of_dual, of_polar = _inside(xp, u, w, a, a), _inside(xp, -u, w, a, xp.ones_like(a))
    axis = W <= SMALLEST_W
    outside = ~(of_dual.inside | of_polar.inside | axis)
    within = axis | (xp.minimum(W - dual, W - primal) <= 0)
    skin = of_dual.inside & ~within & (of_dual.depth <= primal)
    # The root is sought in every element: on the boundary of K* it is r = 0; where there is none, for another point.
    sought = outside | skin
    root = find_root(xp, xp.where(sought, u, -xp.ones_like(u)), xp.where(sought, w, 2 * one), a)
    bent, s = root.y(xp), root.s(xp)
    face = xp.concat([xp.maximum(u, xp.zeros_like(u)), nothing], axis=-1)
    y = xp.where(outside, bent, face)
    y = xp.where(of_dual.inside, v / scale, xp.where(of_polar.inside, xp.zeros_like(y), y))

    vanishes = of_polar.inside | (_norm(xp, y) <= dual)
    weak = (u <= dual) & (u >= -primal)
    crease = within & xp.any(weak, axis=-1)[..., None]
    thin = outside & (_norm(xp, s) <= primal)
    flat = (skin | thin) & ~crease & ~vanishes
    inside = of_dual.inside & ~crease & ~vanishes
    level = (crease | axis) & ~inside & ~vanishes
    face_slopes = _face_slopes(xp, u, a, dual)
    straight = xp.where(level, face_slopes.slopes, xp.where(inside, xp.ones_like(y), xp.zeros_like(y)))
    return PowerProjection(
        y=xp.where(of_dual.inside, v, scale * y),
        kink=(flat | crease | (vanishes & ~(of_polar.inside & (of_polar.depth > dual))))[..., 0],
        curved=outside & ~flat & ~crease & ~vanishes,
        root=root,
        scale=scale,
        flat=flat,
        normal=xp.where(of_dual.inside, of_dual.normal, _unit(xp, s)),
        straight=straight,
        bend=xp.where(level, face_slopes.bend, xp.zeros_like(u)),
    )


@final
@dataclass(frozen=True, slots=True)
class _Inside:
    """Whether a point is in a cone; there its distance from the boundary, to first order, and the normal inwards."""

    inside: Bool[Any, "*B 1"]
    depth: Float[Any, "*B 1"]
    normal: Float[Any, "*B size"]


def _inside(xp: Arrays, u: Any, w: Any, a: Any, units: Any) -> _Inside:
    """For the cone {p(u) >= |w|, u >= 0}, p(u) = prod (u_i / units_i)^a_i.

    Both (p - |w|) / |p' - sg| and the least u_i bound the distance from above, as p is concave.
    """
    proper = ~xp.any(u <= 0, axis=-1)[..., None]
    some, sign = xp.where(proper, u, xp.ones_like(u)), xp.where(w < 0, -xp.ones_like(w), xp.ones_like(w))
    mean = xp.exp(xp.sum(a * xp.log(some / units), axis=-1))[..., None]
    excess = xp.where(proper, mean, xp.zeros_like(mean)) - xp.abs(w)
    normal = _unit(xp, xp.concat([a * mean / some, -sign], axis=-1))
    depth = xp.minimum(excess * xp.abs(normal[..., -1:]), -xp.amax(-some, axis=-1)[..., None])
    inside = ~xp.any(u < 0, axis=-1)[..., None] & (excess >= 0)
    return _Inside(inside, xp.where(proper, depth, xp.zeros_like(depth)), normal)


@final
@dataclass(frozen=True, slots=True)
class _FaceSlopes:
    """The diagonal (u > 0, l) of D on a face, and the derivative of l by u."""

    slopes: Float[Any, "*B size"]
    bend: Float[Any, "*B k"]


def _face_slopes(xp: Arrays, u: Any, a: Any, dual: Any) -> _FaceSlopes:
    """l is the limit of y_w / w as w tends to zero.

    From sum a_i log s_i = log r, with y_w = w - r: if the exponents of the negative u_i sum to less than 1/2, then r
    vanishes faster than w; if to more, y_w does; if to 1/2, then r / y_w tends to a constant, the `ratio`. The
    derivative of its logarithm by u_i is -2 a_i / |u_i|, and that of l is 2 l (1 - l) a_i / |u_i|.
    """
    nothing, one = xp.zeros_like(a), xp.ones_like(a)
    positive = u > dual
    excess = xp.sum(xp.where(positive, nothing, a), axis=-1)[..., None] - 0.5
    slack = xp.where(u < 0, -u, one)
    sizes = xp.where(positive, a / xp.where(positive, u, one), slack)
    ratio = xp.exp(2 * xp.sum(a * xp.log(sizes), axis=-1))[..., None]
    uneven = xp.where(excess < 0, one[..., :1], nothing[..., :1])
    limit = xp.where(xp.abs(excess) <= BALANCED, 1 / (1 + ratio), uneven)
    length = xp.abs(u)
    bend = 2 * limit * (1 - limit) * xp.where(length > 0, a / xp.where(length > 0, length, one), nothing)
    return _FaceSlopes(xp.concat([xp.where(positive, one, nothing), limit], axis=-1), bend)


def _norm(xp: Arrays, x: Any) -> Any:
    return xp.sqrt(xp.sum(x * x, axis=-1))[..., None]


def _unit(xp: Arrays, x: Any) -> Any:
    """x / |x|, for the smallest x too; zero for zero."""
    largest = xp.amax(xp.abs(x), axis=-1)[..., None]
    scaled = x / xp.where(largest > 0, largest, xp.ones_like(largest))
    size = _norm(xp, scaled)
    return scaled / xp.where(size > 0, size, xp.ones_like(size))


def _outer(x: Any) -> Any:
    return x[..., :, None] * x[..., None, :]
