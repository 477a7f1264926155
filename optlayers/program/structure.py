"""The part of a cone program that its parameters do not change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from optlayers.arrays import Indices
from optlayers.cones import Product
from optlayers.program.pattern import Pattern


@final
@dataclass(frozen=True, eq=False)
class Structure:
    """Sizes, cones and sparsity patterns of: minimise 1/2 x'Px + q'x subject to Ax + s = b, s in K.

    `P` is the pattern of the upper triangle; P itself is symmetric positive semidefinite.
    The problem data are one vector (P, q, A, b), the matrices by their stored values: see `data_slices`.
    """

    P: Pattern
    A: Pattern
    cones: Product

    @property
    def n(self) -> int:
        """The number of variables."""
        return self.A.shape[1]

    @property
    def m(self) -> int:
        """The number of rows."""
        return self.A.shape[0]

    @cached_property
    def data_slices(self) -> tuple[slice, slice, slice]:
        """Where P, q and A end in the data vector; b is the rest (see `split`)."""
        ends = np.cumsum([self.P.size, self.n, self.A.size])
        return slice(0, int(ends[0])), slice(int(ends[0]), int(ends[1])), slice(int(ends[1]), int(ends[2]))

    @property
    def data_size(self) -> int:
        """The length of the data vector (P, q, A, b)."""
        return self.P.size + self.n + self.A.size + self.m

    @cached_property
    def full_P(self) -> tuple[Pattern, Indices]:
        """The pattern of the whole symmetric P, and for each entry its place in the upper triangle."""
        return self.P.symmetrized()
