"""The exponential cone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from jaxtyping import Bool, Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import AbstractCone, Resolution, Smoothed
from optlayers.cones.barrier import Barrier, proximal_point
from optlayers.cones.derivative import Rotation
from optlayers.cones.diagonal import diagonal
from optlayers.cones.exponential_rays import decompose


@final
@dataclass(frozen=True, slots=True)
class Exponential(AbstractCone):
    """K = cl {(x, y, z) : y exp(x/y) <= z, y > 0};  K* = cl {(u, v, w) : -u exp(v/u) <= e w, u < 0}.

    Outside K*, -K and the face below v = |y| d - |s| p with the unit boundary rays p of K and d of K* that are
    orthogonal (`cones.exponential_rays`); y is along d, s along p. In the orthonormal basis of d, p and their cross
    product c, D has the eigenvalues 1, 0 and

        |y| k_d / (|y| k_d + |s| k_p),

    where k_d, k_p > 0 are the rates at which the rays turn, both in the direction of c.

    With v_1 >= 0 and v_2 >= 0 the projection is on a face: y = (0, v_2, max(v_3, 0)).

    At kinks what is zero counts as slack: D = 0 where y = 0; D = I - p p' where s = 0 with y on the boundary of K*; on
    the face D = diag(0, v_2 > 0, v_3 > 0).

    The barrier is f(u, v, w) = -log(v - u - u log(-w/u)) - log(-u) - log w.
    """

    separable: ClassVar[bool] = False

    @property
    def size(self) -> int:
        return 3

    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        return decompose(xp, v, None).y

    def derivative(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution | None = None) -> Rotation:
        rays = decompose(xp, v, zero)
        return Rotation(rays.basis, rays.eigenvalues)

    def kinks(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution) -> Bool[Any, "*B kinks"]:
        """One: whether y or s is zero with the other on the boundary, or v on an edge of the face."""
        return decompose(xp, v, zero).kink[..., None]

    def second_derivative(
        self, xp: Arrays, v: Float[Any, "*B size"], a: Float[Any, "*B size"], c: Float[Any, "*B size"]
    ) -> Float[Any, "*B size"]:
        return decompose(xp, v, None).second_derivative(xp, a, c)

    def smoothed(self, xp: Arrays, v: Float[Any, "*B size"], mu: float) -> Smoothed:
        one = xp.ones_like(v[..., 0])
        return proximal_point(xp, _barrier, xp.stack([-one, one, one], axis=-1), v, mu)

    def active(self, xp: Arrays, y: Float[Any, "*B size"]) -> Bool[Any, "*B size"]:
        return xp.broadcast_to(xp.any(y != 0, axis=-1)[..., None], y.shape)


def _barrier(xp: Arrays, y: Float[Any, "*B size"]) -> Barrier:
    """With g = v - u - u l, l = log(-w/u): g' = (-l, 1, -u/w), g'' = [[1/u, 0, -1/w], [0, 0, 0], [-1/w, 0, u/w^2]]."""
    u, v, w = y[..., 0], y[..., 1], y[..., 2]
    zero = xp.zeros_like(u)
    logarithm = xp.log(w / -u)
    g = v - u - u * logarithm
    slope = xp.stack([-logarithm, xp.ones_like(u), -u / w], axis=-1) / g[..., None]
    gradient = -slope - xp.stack([1 / u, zero, 1 / w], axis=-1)
    bend = xp.stack(
        [
            xp.stack([1 / u, zero, -1 / w], axis=-1),
            xp.stack([zero, zero, zero], axis=-1),
            xp.stack([-1 / w, zero, u / (w * w)], axis=-1),
        ],
        axis=-2,
    )
    corner = diagonal(xp, xp.stack([1 / (u * u), zero, 1 / (w * w)], axis=-1))
    return Barrier(gradient, slope[..., :, None] * slope[..., None, :] - bend / g[..., None, None] + corner)
