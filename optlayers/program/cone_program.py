"""One cone program: a structure with its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from optlayers.arrays import Vector
from optlayers.program.structure import Structure


@final
@dataclass(frozen=True, eq=False)
class ConeProgram:
    """minimise 1/2 x'Px + q'x subject to Ax + s = b, s in K; its dual variable is y in K*.

    `P_values` (upper triangle) and `A_values` are the entries stored by the structure's patterns.
    """

    structure: Structure
    P_values: Float[np.ndarray, " nnz_P"]
    q: Float[np.ndarray, " n"]
    A_values: Float[np.ndarray, " nnz_A"]
    b: Float[np.ndarray, " m"]

    @classmethod
    def from_data(cls, structure: Structure, data: Vector) -> ConeProgram:
        """The program of a data vector (P, q, A, b); it shares the vector's memory."""
        P, q, A = structure.data_slices
        return cls(structure, data[P], data[q], data[A], data[A.stop :])

    @cached_property
    def P_upper(self) -> sp.csc_matrix:
        """The upper triangle of P."""
        return self.structure.P.matrix(self.P_values)

    @cached_property
    def P(self) -> sp.csc_matrix:
        """P, both triangles."""
        pattern, source = self.structure.full_P
        return pattern.matrix(self.P_values[source])

    @cached_property
    def A(self) -> sp.csc_matrix:
        """A."""
        return self.structure.A.matrix(self.A_values)

    @cached_property
    def A_magnitude(self) -> sp.csc_matrix:
        """|A|, entry by entry."""
        return self.structure.A.matrix(np.abs(self.A_values))

    @cached_property
    def A_transposed(self) -> sp.csr_matrix:
        """A', a view of A."""
        return self.A.T
