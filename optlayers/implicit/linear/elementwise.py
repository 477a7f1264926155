"""Arithmetic on the elements of a batch, of which some have stopped and stand still."""

from __future__ import annotations

from typing import Any, TypeVar

from optlayers.implicit.framework import Array
from optlayers.implicit.report import RUNNING
from optlayers.implicit.stopping import largest

State = TypeVar("State", bound=tuple[Any, ...])


def quotient(xp: Any, a: Array, b: Array) -> Array:
    """a / b, and 0 where b is 0: what stands still, or has nothing left to do, must not become NaN."""
    return xp.where(b == 0, xp.zeros_like(b), a / xp.where(b == 0, xp.ones_like(b), b))


def advanced(xp: Any, moving: Array, new: State, old: State) -> State:
    """The new state of the elements that are `moving`, the old one of the others."""
    return type(old)(*(selected(xp, moving, new, old) for new, old in zip(new, old, strict=True)))


def ended(xp: Any, status: Array, which: Array, code: int) -> Array:
    """The statuses, after those of the running elements in `which` have become `code`."""
    return xp.where((status == RUNNING) & which, xp.full_like(status, code), status)


def counter(xp: Any, like: Array, value: int = 0) -> Array:
    """An integer for each element."""
    return xp.full_like(like, value, dtype=xp.int32)


def nothing(xp: Any, like: Array) -> Array:
    """A flag for each element, not set."""
    return xp.zeros_like(like, dtype=xp.bool)


def scaled(xp: Any, rhs: Array) -> tuple[Array, Array]:
    """rhs by its largest entry, and that; else the squares in the norms of small ones, honest small gradients, vanish.
    One that is 0, or not finite, remains."""
    scale = largest(xp, rhs)
    scale = xp.where((scale > 0) & xp.isfinite(scale), scale, xp.ones_like(scale))
    return rhs / scale[..., None], scale


def selected(xp: Any, moving: Array, new: Array, old: Array) -> Array:
    """new (*B, ...) of the elements that are `moving`, old of the others."""
    return xp.where(moving.reshape((*moving.shape, *(1,) * (len(old.shape) - len(moving.shape)))), new, old)
