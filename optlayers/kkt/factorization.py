"""Factorizations of quasidefinite matrices of one pattern."""

from __future__ import annotations

import abc

import numpy as np
from jaxtyping import Float

from optlayers.arrays import Vector


class SingularMatrixError(Exception):
    """A pivot vanished; it never leaves the room `kkt`."""


class AbstractFactorization(abc.ABC):
    """A factorization that is overwritten by the next one."""

    @abc.abstractmethod
    def factor(self, values: Vector) -> None:
        """Factor the matrix whose upper triangle has these values; `SingularMatrixError` if a pivot vanishes."""

    @property
    @abc.abstractmethod
    def bytes(self) -> int:
        """The memory of the factors."""

    @abc.abstractmethod
    def solve(self, right: Float[np.ndarray, "size k"]) -> Float[np.ndarray, "size k"]:
        """The solutions for the columns of `right`."""
