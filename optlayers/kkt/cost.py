"""What solving and differentiating a structure will cost, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

OPERATIONS_PER_SECOND = 2e10
"""Speed of one core in dense factorizations, on which the times of `Cost` are based (measured: 2e10 to 5e10)."""


@final
@dataclass(frozen=True, slots=True)
class Cost:
    """One factorization of the symmetric system of the optimality conditions.

    A solve takes some three of them beside the solver's own work, a derivative one.

    rows: the size of the system, variables and rows of the cones together.
    entries: the stored entries of its upper triangle.
    dense_rows: how many of its rows are factored as a dense matrix: those of large semidefinite cones, with their
        columns.
    """

    rows: int
    entries: int
    dense_rows: int

    @property
    def operations(self) -> float:
        """Floating-point operations of the dense part, and of a multiplication by the rest: a lower bound."""
        return 2 / 3 * float(self.dense_rows) ** 3 + 4.0 * self.entries

    @property
    def bytes(self) -> float:
        """Memory of the stored entries, and of the dense part with its factors."""
        return 16.0 * float(self.dense_rows) ** 2 + 40.0 * self.entries

    @property
    def seconds(self) -> float:
        """Time of one factorization on one core, roughly."""
        return self.operations / OPERATIONS_PER_SECOND

    def __str__(self) -> str:
        return (
            f"a system of {self.rows:,} rows, {self.dense_rows:,} of them dense: about {self.seconds:.1g} s and "
            f"{self.bytes / 1e9:.1g} GB for each factorization"
        )
