"""Sparse LDL' factorization of quasidefinite matrices of one pattern, by qdldl."""

from __future__ import annotations

from typing import final

import numpy as np
import qdldl
from jaxtyping import Float

from optlayers.arrays import Vector
from optlayers.kkt.factorization import AbstractFactorization, SingularMatrixError
from optlayers.program import Pattern

_ENTRY = 16
"""Bytes of a stored entry with its index, which qdldl keeps in 64 bits."""


@final
class Ldl(AbstractFactorization):
    """Sparse LDL'; the symbolic analysis is done at the first factorization."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._solver: qdldl.Solver | None = None
        self._bytes = 0

    def factor(self, values: Vector) -> None:
        """Factor the matrix whose upper triangle has these values; `SingularMatrixError` if a pivot vanishes."""
        matrix = self._pattern.matrix(values)
        try:
            if self._solver is None:
                self._solver = qdldl.Solver(matrix, upper=True)
            else:
                self._solver.update(matrix, upper=True)
        except RuntimeError as error:
            self._solver = None
            raise SingularMatrixError(str(error)) from error

    @property
    def bytes(self) -> int:
        """The memory of the factors, and of the permuted matrix beside them."""
        if self._bytes == 0 and self._solver is not None:
            # The pattern of L is that of the symbolic analysis: it is counted once.
            self._bytes = _ENTRY * (self._solver.factors()[0].nnz + self._pattern.size)
        return self._bytes

    def solve(self, right: Float[np.ndarray, "size k"]) -> Float[np.ndarray, "size k"]:
        """The solutions for the columns of `right`."""
        if self._solver is None:
            raise SingularMatrixError("nothing is factored")
        result = np.empty_like(right)
        for column in range(right.shape[1]):
            result[:, column] = self._solver.solve(np.ascontiguousarray(right[:, column]))
        return result
