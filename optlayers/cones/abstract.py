"""What every cone provides."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, final

from jaxtyping import Bool, Float

from optlayers.arrays import Arrays
from optlayers.cones.derivative import AbstractDerivative


@final
@dataclass(frozen=True, slots=True)
class Resolution:
    """How small a multiplier (`dual`) or a slack (`primal`) counts as zero, row by row.

    Both are constant over the rows of a cone that is not separable.
    """

    dual: Float[Any, "*B size"]
    primal: Float[Any, "*B size"]


@final
@dataclass(frozen=True, slots=True)
class Smoothed:
    """The smoothed projection y = argmin over K* of mu f(y) + 1/2 |y - v|^2, f the logarithmic barrier of K*, and its
    derivative D = (I + mu f''(y))^-1."""

    y: Float[Any, "*B size"]
    derivative: AbstractDerivative


class AbstractCone(abc.ABC):
    """A closed convex cone K in R^size, seen through the projection on its dual cone K*.

    With v = y - s, the optimality conditions s in K, y in K*, y's = 0 are y = Pi(v), s = Pi(v) - v, where Pi is
    the Euclidean projection on K* (Moreau, 1962). D = D Pi(v) is symmetric with spectrum in [0, 1].

    Pi has kinks: where y or s is zero, or, in a cone with several spectral values, where one of them is. There D is
    the cone's documented choice, in which a part of v that is zero counts as slack.
    """

    separable: ClassVar[bool]
    """Whether each row is a cone of its own, so that rows may be scaled one by one."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """The number of rows that the cone takes."""

    @abc.abstractmethod
    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        """Pi(v), the point of K* nearest to v."""

    @abc.abstractmethod
    def derivative(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution | None = None) -> AbstractDerivative:
        """D = D Pi(v), with the documented choice where v is on a kink, or within `zero` of one."""

    @abc.abstractmethod
    def kinks(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution) -> Bool[Any, "*B kinks"]:
        """Which of the kinks of Pi v is on, to the resolution `zero`."""

    @abc.abstractmethod
    def second_derivative(
        self, xp: Arrays, v: Float[Any, "*B size"], a: Float[Any, "*B size"], c: Float[Any, "*B size"]
    ) -> Float[Any, "*B size"]:
        """d/dv <a, D(v) c>; on a kink, that of the piece that D is chosen from."""

    @abc.abstractmethod
    def smoothed(self, xp: Arrays, v: Float[Any, "*B size"], mu: float) -> Smoothed:
        """The projection smoothed by the barrier parameter mu > 0; it tends to Pi(v) as mu tends to zero."""

    @abc.abstractmethod
    def active(self, xp: Arrays, y: Float[Any, "*B size"]) -> Bool[Any, "*B size"]:
        """The rows whose multiplier moves with v, at the multiplier y: all or none, if the cone is not separable."""
