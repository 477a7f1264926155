"""Diagonal matrices, for every array library."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float

from optlayers.arrays import Arrays


def diagonal(xp: Arrays, entries: Float[Any, "*B size"]) -> Float[Any, "*B size size"]:
    """The diagonal matrix with the given entries."""
    size = entries.shape[-1]
    columns = [
        xp.stack([entries[..., row] * (row == column) for row in range(size)], axis=-1) for column in range(size)
    ]
    return xp.stack(columns, axis=-1)
