"""The sparsity pattern of a matrix."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import scipy.sparse as sp

from optlayers.arrays import Indices, Vector


@final
@dataclass(frozen=True, eq=False)
class Pattern:
    """Positions of the stored entries, by columns and ascending within a column (CSC).

    A matrix of this pattern is its vector of `size` values; an entry may be stored and zero.
    """

    shape: tuple[int, int]
    indptr: Indices
    rows: Indices

    @classmethod
    def from_positions(cls, shape: tuple[int, int], rows: Indices, columns: Indices) -> tuple[Pattern, Indices]:
        """The pattern of the given positions, and for each of them its place among the stored entries.

        Positions may repeat and come in any order.
        """
        keys = columns.astype(np.int64) * shape[0] + rows
        stored, places = np.unique(keys, return_inverse=True)
        counts = np.bincount(stored // max(shape[0], 1), minlength=shape[1])
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return cls(shape, indptr, (stored % max(shape[0], 1)).astype(np.int32)), places.astype(np.int32)

    @property
    def size(self) -> int:
        """The number of stored entries."""
        return len(self.rows)

    @cached_property
    def columns(self) -> Indices:
        """The column of each stored entry."""
        return np.repeat(np.arange(self.shape[1], dtype=np.int32), np.diff(self.indptr))

    def symmetrized(self) -> tuple[Pattern, Indices]:
        """For the pattern of an upper triangle, that of the whole symmetric matrix, and for each of its entries the
        place in the triangle."""
        rows, columns = self.rows, self.columns
        places = np.arange(self.size, dtype=np.int32)
        below = rows != columns
        pattern, order = Pattern.from_positions(
            self.shape, np.concatenate([rows, columns[below]]), np.concatenate([columns, rows[below]])
        )
        source = np.empty(pattern.size, dtype=np.int32)
        source[order] = np.concatenate([places, places[below]])
        return pattern, source

    def matrix(self, values: Vector) -> sp.csc_matrix:
        """The matrix with these values; it shares their memory."""
        matrix = copy.copy(self._template)  # SciPy's constructor takes ten times as long, checking what is known
        matrix.data = values
        return matrix

    @cached_property
    def _template(self) -> sp.csc_matrix:
        return sp.csc_matrix((np.zeros(self.size), self.rows, self.indptr), shape=self.shape)
