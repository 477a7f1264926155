"""A sparse affine map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float


@final
@dataclass(frozen=True, eq=False)
class AffineMap:
    """z -> matrix @ z + offset, on the last axis of arrays with any leading axes."""

    matrix: sp.csr_matrix
    offset: Float[np.ndarray, " rows"]

    @cached_property
    def _transposed(self) -> sp.csr_matrix:
        return sp.csr_matrix(self.matrix.T)

    def apply(self, z: Float[np.ndarray, "*B columns"]) -> Float[np.ndarray, "*B rows"]:
        """matrix @ z + offset."""
        result: Float[np.ndarray, "*B rows"] = self.jvp(z) + self.offset
        return result

    def jvp(self, dz: Float[np.ndarray, "*B columns"]) -> Float[np.ndarray, "*B rows"]:
        """matrix @ dz."""
        return _multiply(self.matrix, dz)

    def vjp(self, g: Float[np.ndarray, "*B rows"]) -> Float[np.ndarray, "*B columns"]:
        """matrix' @ g."""
        return _multiply(self._transposed, g)


def _multiply(matrix: sp.csr_matrix, z: Float[np.ndarray, "*B columns"]) -> Float[np.ndarray, "*B rows"]:
    flat = z.reshape(int(np.prod(z.shape[:-1])), z.shape[-1])
    result: Float[np.ndarray, "*B rows"] = np.ascontiguousarray((matrix @ flat.T).T)
    return result.reshape((*z.shape[:-1], matrix.shape[0]))
