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
    dense: whether it is factored as a dense matrix.
    """

    rows: int
    entries: int
    dense: bool

    @property
    def operations(self) -> float:
        """Floating-point operations of the factorization if it is dense; else of a multiplication, a lower bound."""
        return 2 / 3 * float(self.rows) ** 3 if self.dense else 4.0 * self.entries

    @property
    def bytes(self) -> float:
        """Memory of the matrix, its factors and its values."""
        return 16.0 * self.rows**2 + 40.0 * self.entries if self.dense else 40.0 * self.entries

    @property
    def seconds(self) -> float:
        """Time of one factorization on one core, roughly."""
        return self.operations / OPERATIONS_PER_SECOND

    def __str__(self) -> str:
        kind = "dense" if self.dense else "sparse"
        return (
            f"a {kind} system of {self.rows:,} rows: about {self.seconds:.1g} s and {self.bytes / 1e9:.1g} GB "
            "for each factorization"
        )
