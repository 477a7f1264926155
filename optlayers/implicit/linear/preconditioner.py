"""Approximate inverses that speed up the solution of linear systems."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from optlayers.errors import ArgumentError
from optlayers.implicit.checks import check_function, wrong
from optlayers.implicit.framework import Array, Function
from optlayers.implicit.shown import shown


class AbstractPreconditioner(abc.ABC):
    """M^-1, close to J_z^-1: for J_z also where it is J_z' that is solved with.

    It changes how fast a system is solved, not what is returned; but for singular systems, where the solution has
    minimum |M u| in place of |u|.
    """

    def mapped(self, function: Function) -> AbstractPreconditioner:
        """The same, with what the function makes of each of its arrays in their place."""
        return self

    @abc.abstractmethod
    def apply(self, xp: Any, r: Array, transpose: bool) -> Array:
        """M^-1 r, or M^-T r, for r (*E, *B, n)."""


@final
@dataclass(frozen=True, eq=False)
class Preconditioner(AbstractPreconditioner):
    """A preconditioner by a function: function(r, transpose) -> M^-1 r, or M^-T r if `transpose`, for r (*E, *B, n)."""

    function: Callable[[Array, bool], Array]

    def __post_init__(self) -> None:
        check_function("Preconditioner", "function", self.function, ("r", "transpose"))

    def __repr__(self) -> str:
        return f"Preconditioner({shown(self.function)})"

    def apply(self, xp: Any, r: Array, transpose: bool) -> Array:
        result = self.function(r, transpose)
        shape, dtype = getattr(result, "shape", None), getattr(result, "dtype", None)
        if shape != r.shape or dtype != r.dtype:
            raise ArgumentError(
                f"the function of Preconditioner must return an array like r, of shape {tuple(r.shape)} and type "
                f"{r.dtype}, not {shown(result)} of type {dtype}."
            )
        return result


@final
@dataclass(frozen=True, eq=False)
class DenseInverse(AbstractPreconditioner):
    """The inverse (*B, n, n) of a matrix close to J_z, as J_z itself at a point and parameters nearby.

    An inverse that serves many solves, as over the steps of a training, costs one factorisation for all of them.
    """

    inverse: Array

    def __post_init__(self) -> None:
        shape = tuple(getattr(self.inverse, "shape", ()))
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise wrong("DenseInverse", "inverse", self.inverse, "an array of matrices (*B, n, n)")

    def __repr__(self) -> str:
        return f"DenseInverse({shown(self.inverse)})"

    @classmethod
    def of(cls, xp: Any, matrix: Array) -> DenseInverse:
        """That of matrices (*B, n, n), with the framework's array namespace xp. They must not be singular."""
        return cls(xp.linalg.inv(matrix))

    def mapped(self, function: Function) -> DenseInverse:
        return DenseInverse(function(self.inverse))

    def apply(self, xp: Any, r: Array, transpose: bool) -> Array:
        if self.inverse.shape[-1] != r.shape[-1]:
            raise ArgumentError(
                f"the preconditioner is the inverse of a matrix of {self.inverse.shape[-1]} rows, but the system has "
                f"{r.shape[-1]} unknowns: take root.neighbour(F, z, theta) of the same equation."
            )
        inverse = xp.moveaxis(self.inverse, -1, -2) if transpose else self.inverse
        return (inverse @ r[..., None])[..., 0]
