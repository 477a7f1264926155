"""Approximate inverses that speed up the solution of linear systems."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from optlayers.implicit.framework import Array


class AbstractPreconditioner(abc.ABC):
    """M^-1, close to A^-1. It changes how fast a system is solved, never what is returned."""

    @abc.abstractmethod
    def apply(self, xp: object, r: Array, transpose: bool) -> Array:
        """M^-1 r, or M^-T r, for r (*E, *B, n)."""


@final
@dataclass(frozen=True, eq=False)
class Preconditioner(AbstractPreconditioner):
    """A preconditioner by a function: function(r, transpose) -> M^-1 r, or M^-T r if `transpose`."""

    function: Callable[[Array, bool], Array]

    def apply(self, xp: object, r: Array, transpose: bool) -> Array:
        return self.function(r, transpose)
