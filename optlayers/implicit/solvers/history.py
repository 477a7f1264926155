"""What limited-memory iterations remember of their last steps: arrays (*B, depth, n), the newest first."""

from __future__ import annotations

from typing import Any

from optlayers.implicit.framework import Array


def empty(xp: Any, z: Array, depth: int) -> Array:
    """Zeros (*B, depth, n) for z (*B, n)."""
    return xp.zeros_like(xp.broadcast_to(z[..., None, :], (*z.shape[:-1], depth, z.shape[-1])))


def pushed(xp: Any, history: Array, new: Array) -> Array:
    """The history after the vectors `new` (*B, n), without its oldest ones."""
    return xp.concatenate([new[..., None, :], history[..., :-1, :]], axis=-2)


def products(xp: Any, history: Array, v: Array) -> Array:
    """(*B, depth) the inner products with v (*B, n)."""
    return xp.sum(history * v[..., None, :], axis=-1)


def combined(xp: Any, history: Array, weights: Array) -> Array:
    """(*B, n) the combination with the weights (*B, depth)."""
    return xp.sum(history * weights[..., None], axis=-2)
