"""The derivative of a projection, in the forms that a linear system can use without its inverse.

D = D Pi(v) is symmetric with spectrum in [0, 1]. Each form is a factorization D = F F' with F'F diagonal on the
variables it is written in, so that neither D^-1 nor a quotient of eigenvalues is ever formed (`kkt.symmetric_system`).
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float

from optlayers.arrays import Arrays


class AbstractDerivative(abc.ABC):
    """D = D Pi(v), a symmetric matrix with 0 <= D <= I for each element of the batch."""

    @abc.abstractmethod
    def apply(self, xp: Arrays, h: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        """D h."""

    @abc.abstractmethod
    def complement(self, xp: Arrays) -> AbstractDerivative:
        """I - D, the derivative of v - Pi(v)."""


@final
@dataclass(frozen=True, slots=True)
class Diagonal(AbstractDerivative):
    """D = diag(entries), 0 <= entries <= 1."""

    entries: Float[Any, "*B size"]

    def apply(self, xp: Arrays, h: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        return self.entries * h

    def complement(self, xp: Arrays) -> Diagonal:
        return Diagonal(1 - self.entries)


@final
@dataclass(frozen=True, slots=True)
class Expansion(AbstractDerivative):
    """D = weight I + (1 - weight) one one' - weight null null', 0 <= weight <= 1.

    `one` and `null` are orthogonal, each a unit vector or zero: the eigenvalues are 1 along `one`, 0 along `null`, and
    `weight` on the rest. A matrix of this form stays sparse in a linear system, however large it is.
    """

    weight: Float[Any, "*B"]
    one: Float[Any, "*B size"]
    null: Float[Any, "*B size"]

    def apply(self, xp: Arrays, h: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        weight = self.weight[..., None]
        along_one = self.one * xp.sum(self.one * h, axis=-1)[..., None]
        along_null = self.null * xp.sum(self.null * h, axis=-1)[..., None]
        return weight * (h - along_null) + (1 - weight) * along_one

    def complement(self, xp: Arrays) -> Expansion:
        return Expansion(1 - self.weight, self.null, self.one)


class AbstractRotation(AbstractDerivative):
    """D = Q diag(eigenvalues) Q' with Q orthogonal."""

    eigenvalues: Float[Any, "*B size"]

    @abc.abstractmethod
    def rotate(self, xp: Arrays, M: Float[Any, "*B size k"]) -> Float[Any, "*B size k"]:
        """Q' M."""

    @abc.abstractmethod
    def rotate_back(self, xp: Arrays, M: Float[Any, "*B size k"]) -> Float[Any, "*B size k"]:
        """Q M."""

    def apply(self, xp: Arrays, h: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        rotated = self.eigenvalues[..., None] * self.rotate(xp, h[..., None])
        return self.rotate_back(xp, rotated)[..., 0]


@final
@dataclass(frozen=True, slots=True)
class Rotation(AbstractRotation):
    """D = Q diag(eigenvalues) Q' with Q, the orthogonal matrix `basis`, stored: for cones of few rows."""

    basis: Float[Any, "*B size size"]
    eigenvalues: Float[Any, "*B size"]

    def complement(self, xp: Arrays) -> Rotation:
        return Rotation(self.basis, 1 - self.eigenvalues)

    def rotate(self, xp: Arrays, M: Float[Any, "*B size k"]) -> Float[Any, "*B size k"]:
        return xp.swapaxes(self.basis, -1, -2) @ M

    def rotate_back(self, xp: Arrays, M: Float[Any, "*B size k"]) -> Float[Any, "*B size k"]:
        return self.basis @ M
