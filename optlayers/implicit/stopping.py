"""When an iteration stops."""

from __future__ import annotations

from enum import Enum
from typing import Any, final

from optlayers.errors import OptionError
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


def check_limits(name: str, tolerance: float, max_iterations: int) -> None:
    """Raise `OptionError` unless the tolerance is positive and the limit at least one."""
    if not tolerance > 0:
        raise OptionError(f"{name}(tolerance={tolerance!r}): a positive number is expected.")
    check_count(name, "max_iterations", max_iterations)


def check_count(name: str, field: str, value: int) -> None:
    """Raise `OptionError` unless the value of a solver's field is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{name}({field}={value!r}): a positive integer is expected.")


def largest(xp: Any, r: Array) -> Array:
    """The largest entry of each element, in modulus; NaN where one is."""
    return xp.amax(xp.abs(r), axis=-1)


def length(xp: Any, r: Array) -> Array:
    """The Euclidean norm of each element."""
    return xp.sqrt(inner(xp, r, r))


def inner(xp: Any, a: Array, b: Array) -> Array:
    """The inner product of each element."""
    return xp.sum(a * b, axis=-1)
