"""The Cartesian product of cones, in the order of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import AbstractCone, Diagonal


@final
@dataclass(frozen=True, slots=True)
class Product(AbstractCone):
    """K = K_1 x ... x K_k; projection and derivative act on each factor's rows."""

    factors: tuple[AbstractCone, ...]

    @property
    def size(self) -> int:
        return sum(cone.size for cone in self.factors)

    def blocks(self) -> Iterator[tuple[AbstractCone, slice]]:
        """Each factor with the slice of rows that it takes."""
        start = 0
        for cone in self.factors:
            yield cone, slice(start, start + cone.size)
            start += cone.size

    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        if not self.factors:
            return v
        return xp.concat([cone.project_dual(xp, v[..., rows]) for cone, rows in self.blocks()], axis=-1)

    def derivative(self, xp: Arrays, v: Float[Any, "*B size"]) -> Diagonal:
        if not self.factors:
            return Diagonal(v)
        entries = [cone.derivative(xp, v[..., rows]).entries for cone, rows in self.blocks()]
        return Diagonal(xp.concat(entries, axis=-1))
