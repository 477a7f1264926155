"""The positive part of spectral values, exact and smoothed, and its divided differences.

The cone K of squares of a Euclidean Jordan algebra (the orthant, the second-order and the semidefinite cone; Faraut and
Koranyi, 1994) is self-dual, and Pi acts on the spectral values l of v alone: f(l) = max(l, 0). Smoothed by mu it is

    f(l) = (l + r(l)) / 2,   r(l) = sqrt(l^2 + 4 mu),   the root of f (f - l) = mu.

With mu = 0 this is max(l, 0) and r(l) = |l|. D Pi(v) has the divided differences of f for eigenvalues,

    f[l_i, l_j] = (f(l_i) - f(l_j)) / (l_i - l_j) = (f(l_i) + f(l_j)) / (r(l_i) + r(l_j)),

where the second form has no cancellation and holds for l_i = l_j too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Bool, Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import Resolution


@final
@dataclass(frozen=True, slots=True)
class PositivePart:
    """f(l) and r(l) = 2 f(l) - l of spectral values l."""

    value: Float[Any, "*B k"]
    root: Float[Any, "*B k"]


def positive_part(xp: Arrays, values: Float[Any, "*B k"], zero: Resolution | None) -> PositivePart:
    """f(l) = max(l, 0) and r(l) = |l|, both 0 where `is_zero`."""
    size = xp.abs(values)
    if zero is not None:
        size = xp.where(is_zero(values, zero), xp.zeros_like(size), size)
    return PositivePart(xp.where(values > 0, size, xp.zeros_like(size)), size)


def smoothed_positive_part(xp: Arrays, values: Float[Any, "*B k"], mu: float) -> PositivePart:
    """f(l) = (l + r(l)) / 2, for l < 0 as mu / ((r(l) - l) / 2), which has no cancellation."""
    root = xp.sqrt(values * values + 4 * mu)
    far = (xp.abs(values) + root) / 2
    return PositivePart(xp.where(values > 0, far, mu / far), root)


def is_zero(values: Float[Any, "*B k"], zero: Resolution) -> Bool[Any, "*B k"]:
    """Which spectral values count as zero: -zero.primal <= l <= zero.dual."""
    inside: Bool[Any, "*B k"] = (values <= zero.dual[..., :1]) & (values >= -zero.primal[..., :1])
    return inside


def divided_difference(xp: Arrays, f_i: Any, f_j: Any, r_i: Any, r_j: Any) -> Any:
    """f[l_i, l_j] from f and r at both; between two zeros of the exact positive part it is taken to be 0."""
    total = r_i + r_j
    defined = total > 0
    return xp.where(defined, (f_i + f_j) / xp.where(defined, total, xp.ones_like(total)), xp.zeros_like(total))
