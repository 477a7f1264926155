"""Factorization of matrices that are sparse but for a dense border, as large semidefinite cones make them."""

from __future__ import annotations

import warnings
from typing import final

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp
from jaxtyping import Bool, Float

from optlayers.arrays import Vector
from optlayers.kkt.factorization import AbstractFactorization, SingularMatrixError
from optlayers.kkt.ldl import Ldl
from optlayers.program import Pattern


@final
class Bordered(AbstractFactorization):
    """Sparse LDL' of K11, dense LU of the Schur complement S = K22 - K21 K11^-1 K12, where K22 is the border.

    A principal part of a quasidefinite matrix is quasidefinite, so that K11 has its LDL' too. Without K11 this is dense
    LU of K.
    """

    def __init__(self, pattern: Pattern, border: Bool[np.ndarray, " size"]) -> None:
        self._border = border
        rows, columns = pattern.rows, pattern.columns
        place = np.where(border, np.cumsum(border), np.cumsum(~border)) - 1
        row_place, column_place = place[rows].astype(np.int32), place[columns].astype(np.int32)
        inside, outside = int((~border).sum()), int(border.sum())
        self._in_11 = np.flatnonzero(~border[rows] & ~border[columns])
        self._in_22 = np.flatnonzero(border[rows] & border[columns])
        self._in_12 = np.flatnonzero(border[rows] != border[columns])
        sparse, self._order_11 = Pattern.from_positions(
            (inside, inside), row_place[self._in_11], column_place[self._in_11]
        )
        self._ldl = Ldl(sparse) if inside else None
        self._values_11 = np.empty(sparse.size)
        self._dense_places = row_place[self._in_22], column_place[self._in_22]
        self._S_shape = outside, outside
        # The entries between both, by the row of K11 and the column of the border whichever is above in K.
        swapped = border[rows[self._in_12]]
        between_rows = np.where(swapped, column_place[self._in_12], row_place[self._in_12])
        between_columns = np.where(swapped, row_place[self._in_12], column_place[self._in_12])
        self._coupled, compressed = np.unique(between_columns, return_inverse=True)
        self._between, self._order_12 = Pattern.from_positions(
            (inside, len(self._coupled)), between_rows, compressed.astype(np.int32)
        )
        self._K12: sp.csc_matrix | None = None
        self._W: Float[np.ndarray, "inside coupled"] | None = None
        self._S: tuple[np.ndarray, np.ndarray] | None = None

    def factor(self, values: Vector) -> None:
        self._S = None
        S = np.zeros(self._S_shape, order="F")
        rows, columns = self._dense_places
        S[rows, columns] = S[columns, rows] = values[self._in_22]
        if self._ldl is not None:
            self._values_11[self._order_11] = values[self._in_11]
            self._ldl.factor(self._values_11)
            between = np.empty(self._between.size)
            between[self._order_12] = values[self._in_12]
            self._K12 = self._between.matrix(between)
            self._W = self._ldl.solve(self._K12.toarray(order="F"))
            S[np.ix_(self._coupled, self._coupled)] -= self._K12.T @ self._W
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", la.LinAlgWarning)
            factors = la.lu_factor(S, overwrite_a=True, check_finite=False)
        if not np.diagonal(factors[0]).all():
            raise SingularMatrixError("a pivot is zero")
        self._S = factors

    @property
    def bytes(self) -> int:
        sparse = 0 if self._ldl is None else self._ldl.bytes
        return sparse + sum(int(part.nbytes) for part in (self._W, *(self._S or ())) if part is not None)

    def solve(self, right: Float[np.ndarray, "size k"]) -> Float[np.ndarray, "size k"]:
        if self._S is None:
            raise SingularMatrixError("nothing is factored")
        result = np.empty_like(right)
        inner, outer = right[~self._border], right[self._border]
        if self._ldl is None or self._W is None or self._K12 is None:
            result[self._border] = la.lu_solve(self._S, outer, check_finite=False)
            return result
        outer[self._coupled] -= self._W.T @ inner
        outer = la.lu_solve(self._S, outer, check_finite=False)
        result[self._border] = outer
        result[~self._border] = self._ldl.solve(inner - self._K12 @ outer[self._coupled])
        return result
