"""When an iteration stops."""

from __future__ import annotations

from enum import Enum
from typing import Any, final

from optlayers.implicit.framework import Array
from optlayers.implicit.names import member_of


@final
class Stop(Enum):
    """What the norm of a residual is compared with.

    `value` is the name at the front door.
    """

    ABSOLUTE = "absolute"
    """|F(z)| <= tolerance"""
    REDUCTION = "reduction"
    """|F(z)| <= tolerance |F(z0)|; for a linear system, |J u - rhs| <= tolerance |rhs|"""
    RELATIVE = "relative"
    """|F(z)| <= tolerance |z|"""

    def bound(self, tolerance: float, first: Array, size: Array) -> Array:
        """The norm at which to stop, given the first residual's and the current solution's."""
        if self is Stop.ABSOLUTE:
            return tolerance * (first * 0 + 1)
        return tolerance * (first if self is Stop.REDUCTION else size)


def stop_of(choice: Stop | str) -> Stop:
    """The rule of a name. Raises `OptionError` for one that does not exist."""
    return member_of(Stop, "stop", choice)


def largest(xp: Any, r: Array) -> Array:
    """The largest entry of each element, in modulus; NaN where one is."""
    return xp.amax(xp.abs(r), axis=-1)


def length(xp: Any, r: Array) -> Array:
    """The Euclidean norm of each element."""
    return xp.sqrt(inner(xp, r, r))


def inner(xp: Any, a: Array, b: Array) -> Array:
    """The inner product of each element."""
    return xp.sum(a * b, axis=-1)
