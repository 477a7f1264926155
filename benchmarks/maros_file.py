"""The Maros-Meszaros quadratic programs (Maros and Meszaros, 1999), from MATLAB files.

Each file holds: minimise 1/2 x'Px + q'x + r subject to l <= Ax <= u, where 1e20 means unbounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse as sp

from optlayers.cones import Nonnegative, Product, Zero
from optlayers.program import ConeProgram, Pattern, Structure

INFINITY = 1e19
"""Bounds beyond this count as none: the files hold 1e20 with rounding, 9.99999999999999e19 too."""


def read_maros(path: Path) -> ConeProgram:
    """The program of a file: its equalities, then its upper and its lower bounds, each finite one a row."""
    file: dict[str, Any] = scipy.io.loadmat(str(path))
    A = sp.csr_array(file["A"], dtype=np.float64)
    q, lower, upper = (np.asarray(file[name], dtype=np.float64).ravel() for name in ("q", "l", "u"))
    equal = lower == upper
    above, below = ~equal & (upper < INFINITY), ~equal & (lower > -INFINITY)
    rows = sp.csc_array(sp.vstack([A[equal], A[above], -A[below]]))
    P = sp.csc_array(sp.triu(sp.csc_array(file["P"], dtype=np.float64)))
    P_pattern, P_values = _pattern(P)
    A_pattern, A_values = _pattern(rows)
    count = int(equal.sum())
    structure = Structure(P_pattern, A_pattern, Product((Zero(count), Nonnegative(rows.shape[0] - count))))
    return ConeProgram(structure, P_values, q, A_values, np.concatenate([upper[equal], upper[above], -lower[below]]))


def _pattern(matrix: sp.csc_array) -> tuple[Pattern, np.ndarray]:
    matrix.sum_duplicates()
    indptr, rows = matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32)
    return Pattern((int(matrix.shape[0]), int(matrix.shape[1])), indptr, rows), matrix.data
