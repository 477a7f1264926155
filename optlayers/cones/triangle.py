"""The order and the scaling of a symmetric matrix's entries as the rows of a cone.

svec X lists the upper triangle by columns, X_00, X_01, X_11, X_02, X_12, X_22, ..., the entries off the diagonal times
sqrt 2, so that (svec X)'(svec Y) = tr(X Y). It is Clarabel's order; SCS lists the lower triangle by columns.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from optlayers.arrays import Arrays


def triangle_size(order: int) -> int:
    """The number of entries of a triangle with its diagonal."""
    return order * (order + 1) // 2


def upper_triangle(order: int) -> tuple[Int[np.ndarray, " size"], Int[np.ndarray, " size"]]:
    """The rows and the columns of the entries of svec X, in its order."""
    columns, rows = np.tril_indices(order)
    return rows, columns


def lower_from_upper(order: int) -> Int[np.ndarray, " size"]:
    """The permutation such that svec_lower = svec_upper[permutation], the lower triangle by columns from svec."""
    columns, rows = np.triu_indices(order)
    return rows * (rows + 1) // 2 + columns


def to_matrix(xp: Arrays, vector: Float[Any, "*B size"], order: int) -> Float[Any, "*B order order"]:
    """The symmetric X of svec X."""
    rows, columns = upper_triangle(order)
    size = len(rows)
    place = np.empty((order, order), dtype=np.int64)
    place[rows, columns] = place[columns, rows] = np.arange(size) + np.where(rows == columns, 0, size)
    return xp.concat([vector, vector / math.sqrt(2)], axis=-1)[..., place]


def to_vector(xp: Arrays, X: Float[Any, "*B order order"]) -> Float[Any, "*B size"]:
    """svec X of a symmetric X, read from its upper triangle."""
    order = X.shape[-1]
    rows, columns = upper_triangle(order)
    flat = xp.reshape(X, (*X.shape[:-2], order * order))
    place = rows * order + columns + np.where(rows == columns, 0, order * order)
    return xp.concat([flat, flat * math.sqrt(2)], axis=-1)[..., place]
