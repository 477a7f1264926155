"""Approximate inverses that speed up the solution of linear systems."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from optlayers.implicit.framework import Array


class AbstractPreconditioner(abc.ABC):
    """M^-1, close to J_z^-1: for J_z also where it is J_z' that is solved with.

    It changes how fast a system is solved, not what is returned; but for singular systems, where the solution has
    minimum |M u| in place of |u|.
    """

    @abc.abstractmethod
    def apply(self, xp: Any, r: Array, transpose: bool) -> Array:
        """M^-1 r, or M^-T r, for r (*E, *B, n)."""


@final
@dataclass(frozen=True, eq=False)
class Preconditioner(AbstractPreconditioner):
    """A preconditioner by a function: function(r, transpose) -> M^-1 r, or M^-T r if `transpose`, for r (*E, *B, n)."""

    function: Callable[[Array, bool], Array]

    def apply(self, xp: Any, r: Array, transpose: bool) -> Array:
        return self.function(r, transpose)


@final
@dataclass(frozen=True, eq=False)
class DenseInverse(AbstractPreconditioner):
    """The inverse (*B, n, n) of a matrix close to J_z, as J_z itself at a point and parameters nearby.

    An inverse that serves many solves, as over the steps of a training, costs one factorisation for all of them.
    """

    inverse: Array

    @classmethod
    def of(cls, xp: Any, matrix: Array) -> DenseInverse:
        """That of matrices (*B, n, n), with the framework's array namespace xp. They must not be singular."""
        return cls(xp.linalg.inv(matrix))

    def apply(self, xp: Any, r: Array, transpose: bool) -> Array:
        inverse = xp.moveaxis(self.inverse, -1, -2) if transpose else self.inverse
        return (inverse @ r[..., None])[..., 0]
