"""Which factorization suits a pattern."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from optlayers.kkt.bordered import Bordered
from optlayers.kkt.factorization import AbstractFactorization
from optlayers.kkt.ldl import Ldl
from optlayers.program import Pattern

DENSE_DEGREE = 300
"""A row with more entries than this may belong to the dense border."""

DENSE_BORDER = 300
"""Borders of fewer rows are left to the sparse factorization."""

DENSE_PART = 0.1
"""So are borders with less than this part of their entries stored."""


def choose_factorization(pattern: Pattern) -> AbstractFactorization:
    """A workspace for matrices whose upper triangle has this pattern.

    Rows that a sparse elimination would fill in are factored densely, by LAPACK, which is some ten times faster there.
    """
    border = dense_border(pattern)
    return Bordered(pattern, border) if border.any() else Ldl(pattern)


def dense_border(pattern: Pattern) -> Bool[np.ndarray, " size"]:
    """The rows of a symmetric matrix that are dense among themselves, or none."""
    rows, columns = pattern.rows, pattern.columns
    degree = np.bincount(rows, minlength=pattern.shape[0]) + np.bincount(columns, minlength=pattern.shape[0])
    border: Bool[np.ndarray, " size"] = degree > DENSE_DEGREE
    size, stored = int(border.sum()), int((border[rows] & border[columns]).sum())
    if size < DENSE_BORDER or not is_dense(size, stored):
        return np.zeros_like(border)
    return border


def is_dense(rows: int, entries: int) -> bool:
    """Whether a matrix with so many rows, and entries in its upper triangle, counts as dense."""
    return entries > DENSE_PART * rows * (rows + 1) / 2
