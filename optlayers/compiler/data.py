"""theta -> (P, q, A, b) as one sparse affine map, and the structure that it fills."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from optlayers.compiler.neutral import Canonical
from optlayers.program import AffineMap, Pattern, Structure


def compile_data(canonical: Canonical, vector: AffineMap) -> tuple[Structure, AffineMap, AffineMap]:
    """The structure, the map theta -> data vector, and the map theta -> constant term of the objective.

    `vector` maps theta to CVXPY's parameter vector. CVXPY's A x + b in K becomes A x + s = b with -A for A.
    """
    n, m, program = canonical.n, canonical.m, canonical.program
    parameters = int(program.total_param_size) + 1
    P_tensor = sp.csr_matrix((n * n, parameters)) if program.P is None else sp.csr_matrix(program.P)
    q_tensor = sp.csr_matrix(program.q)
    A_tensor = sp.csr_matrix(program.A) if m else sp.csr_matrix((0, parameters))

    P_pattern, P_rows = _symmetric(P_tensor, n)
    A_pattern, A_rows = _rectangular(A_tensor[: n * m], m, n)
    tensor = sp.vstack([P_rows, q_tensor[:n], -A_rows, A_tensor[n * m :]], format="csr")
    structure = Structure(P_pattern, A_pattern, canonical.cones)
    return structure, _compose(tensor, vector), _compose(q_tensor[n:], vector)


def _compose(tensor: sp.csr_matrix, vector: AffineMap) -> AffineMap:
    matrix = sp.csr_matrix(tensor @ vector.matrix)
    matrix.eliminate_zeros()
    return AffineMap(matrix, np.asarray(tensor @ vector.offset).ravel())


def _rectangular(tensor: sp.csr_matrix, m: int, n: int) -> tuple[Pattern, sp.csr_matrix]:
    """The pattern of the matrices that the tensor's rows give by columns, and the rows of its stored entries."""
    stored = np.flatnonzero(np.diff(tensor.indptr)).astype(np.int64)
    pattern, places = Pattern.from_positions(
        (m, n), (stored % max(m, 1)).astype(np.int32), (stored // max(m, 1)).astype(np.int32)
    )
    return pattern, _scatter(places, pattern.size, np.ones(len(stored))) @ tensor[stored]


def _symmetric(tensor: sp.csr_matrix, n: int) -> tuple[Pattern, sp.csr_matrix]:
    """The same for the upper triangle of symmetric matrices: each entry is the mean of the two that stand for it."""
    stored = np.flatnonzero(np.diff(tensor.indptr)).astype(np.int64)
    rows, columns = stored % n, stored // n
    weights = np.where(rows == columns, 1.0, 0.5)
    pattern, places = Pattern.from_positions(
        (n, n), np.minimum(rows, columns).astype(np.int32), np.maximum(rows, columns).astype(np.int32)
    )
    return pattern, _scatter(places, pattern.size, weights) @ tensor[stored]


def _scatter(places: np.ndarray, size: int, weights: np.ndarray) -> sp.csr_matrix:
    return sp.csr_matrix((weights, (places, np.arange(len(places)))), shape=(size, len(places)))
