"""What every cone provides."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float

from optlayers.arrays import Arrays


@final
@dataclass(frozen=True, slots=True)
class Diagonal:
    """The derivative D = diag(entries) of a projection, 0 <= entries <= 1."""

    entries: Float[Any, "*B size"]


class AbstractCone(abc.ABC):
    """A closed convex cone K in R^size, seen through the projection on its dual cone K*.

    With v = y - s, the optimality conditions s in K, y in K*, y's = 0 are y = Pi(v), s = Pi(v) - v, where Pi is
    the Euclidean projection on K* (Moreau, 1962). D = D Pi(v) is symmetric with spectrum in [0, 1].
    """

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """The number of rows that the cone takes."""

    @abc.abstractmethod
    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        """Pi(v), the point of K* nearest to v."""

    @abc.abstractmethod
    def derivative(self, xp: Arrays, v: Float[Any, "*B size"]) -> Diagonal:
        """D = D Pi(v); where Pi is not differentiable, the cone's documented choice."""
