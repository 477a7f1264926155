"""theta -> (P, q, A, b) as one sparse affine map, and the structure that it fills.

CVXPY's tensors have a row for each entry of a dense matrix, n n of them for P. Only the stored entries are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from optlayers.arrays import Indices, Mask, Vector
from optlayers.compiler.neutral import Canonical
from optlayers.program import AffineMap, Pattern, Structure

Positions: TypeAlias = npt.NDArray[np.integer[Any]]


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Entries:
    """The stored entries of a tensor: its rows (entries of a matrix), its columns (parameters), and the values."""

    rows: Positions
    columns: Positions
    values: Vector

    def where(self, chosen: Mask) -> _Entries:
        """The chosen entries."""
        return _Entries(self.rows[chosen], self.columns[chosen], self.values[chosen])

    def matrix(self, rows: Positions, height: int, width: int) -> sp.csr_matrix:
        """The entries as a matrix, moved to other rows."""
        return sp.csr_matrix((self.values, (rows, self.columns)), shape=(height, width))


def compile_data(canonical: Canonical, vector: AffineMap) -> tuple[Structure, AffineMap, AffineMap]:
    """The structure, the map theta -> data vector, and the map theta -> constant term of the objective.

    `vector` maps theta to CVXPY's parameter vector. CVXPY's A x + b in K becomes A x + s = b with -A for A.
    """
    n, m, program = canonical.n, canonical.m, canonical.program
    width = int(program.total_param_size) + 1
    A_and_b = _entries(program.A if m else None)
    in_A = A_and_b.rows < n * m
    b, q = A_and_b.where(~in_A), _entries(program.q)

    P_pattern, P_rows = _symmetric(_entries(program.P), n, width)
    A_pattern, A_rows = _rectangular(A_and_b.where(in_A), m, n, width)
    q_rows = q.matrix(q.rows, n + 1, width)
    tensor = sp.vstack([P_rows, q_rows[:n], -A_rows, b.matrix(b.rows - n * m, m, width)], format="csr")
    structure = Structure(P_pattern, A_pattern, canonical.cones)
    return structure, _compose(tensor, vector), _compose(q_rows[n:], vector)


def _compose(tensor: sp.csr_matrix, vector: AffineMap) -> AffineMap:
    matrix = sp.csr_matrix(tensor @ vector.matrix)
    matrix.eliminate_zeros()
    return AffineMap(matrix, np.asarray(tensor @ vector.offset).ravel())


def _entries(tensor: Any) -> _Entries:
    """The stored entries of a tensor, none for None."""
    if tensor is None:
        return _Entries(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    entries = sp.coo_array(tensor)
    rows, columns = (np.asarray(index, dtype=np.int64) for index in entries.coords)
    return _Entries(rows, columns, np.asarray(entries.data, dtype=np.float64))


def _rectangular(entries: _Entries, m: int, n: int, width: int) -> tuple[Pattern, sp.csr_matrix]:
    """The pattern of the m x n matrices whose entries, by columns, the tensor's rows are, and these rows."""
    height = max(m, 1)
    pattern, places = Pattern.from_positions((m, n), _narrow(entries.rows % height), _narrow(entries.rows // height))
    return pattern, entries.matrix(places, pattern.size, width)


def _symmetric(entries: _Entries, n: int, width: int) -> tuple[Pattern, sp.csr_matrix]:
    """The same for the upper triangle of symmetric matrices: each entry is the mean of the two that stand for it."""
    i, j = entries.rows % n, entries.rows // n
    pattern, places = Pattern.from_positions((n, n), _narrow(np.minimum(i, j)), _narrow(np.maximum(i, j)))
    halved = _Entries(entries.rows, entries.columns, np.where(i == j, 1.0, 0.5) * entries.values)
    return pattern, halved.matrix(places, pattern.size, width)


def _narrow(positions: Positions) -> Indices:
    return positions.astype(np.int32)
