"""Trees of arrays as one array (*B, n), and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from optlayers.errors import ArgumentError
from optlayers.implicit.framework import Array, Framework
from optlayers.implicit.shown import shown


@final
@dataclass(frozen=True, eq=False)
class Layout:
    """How the leaves of a tree, each (*B, *shape), stand side by side in an array (*B, n)."""

    framework: Framework
    batch: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    rebuild: Callable[[Sequence[Any]], Any]

    @classmethod
    def of(cls, framework: Framework, tree: Any, batch_axes: int) -> Layout:
        """That of z0. Raises `ArgumentError` where its leaves have no common batch axes, or no entries."""
        check_batch_axes(batch_axes)
        leaves, rebuild = framework.flatten(tree)
        short = [leaf.shape for leaf in leaves if len(leaf.shape) < batch_axes]
        if short:
            raise ArgumentError(f"batch_axes={batch_axes}, but an array of z0 has the shape {tuple(short[0])}.")
        batches = {tuple(leaf.shape[:batch_axes]) for leaf in leaves}
        if len(batches) > 1:
            raise ArgumentError(
                f"the arrays of z0 differ in their first {batch_axes} axes, the batch axes: {sorted(batches)}."
            )
        shapes = tuple(tuple(leaf.shape[batch_axes:]) for leaf in leaves)
        if sum(math.prod(shape) for shape in shapes) == 0:
            raise ArgumentError("z0 has no entries for an element of the batch; one unknown at least is expected.")
        return cls(framework, batches.pop(), shapes, rebuild)

    @property
    def size(self) -> int:
        """n"""
        return sum(math.prod(shape) for shape in self.shapes)

    def ravel(self, tree: Any, name: str) -> Array:
        """The tree as an array (*B, n). Raises `ArgumentError`, speaking of `name`, where it is none like z0."""
        leaves, _ = self.framework.flatten(tree)
        expected = [(*self.batch, *shape) for shape in self.shapes]
        given = [tuple(leaf.shape) if hasattr(leaf, "shape") else type(leaf).__name__ for leaf in leaves]
        if given != expected:
            raise ArgumentError(f"{name} must be like z0: arrays of shapes {expected} are expected, not {given}.")
        xp = self.framework.xp
        sizes = map(math.prod, self.shapes)
        return xp.concatenate(
            [leaf.reshape(*self.batch, size) for leaf, size in zip(leaves, sizes, strict=True)], axis=-1
        )

    def unravel(self, z: Array) -> Any:
        """The tree of an array (*B, n)."""
        leaves, start = [], 0
        for shape in self.shapes:
            stop = start + math.prod(shape)
            leaves.append(z[..., start:stop].reshape((*self.batch, *shape)))
            start = stop
        return self.rebuild(leaves)


def check_batch_axes(batch_axes: object) -> None:
    """Raise `ArgumentError` unless it is an integer from 0."""
    if isinstance(batch_axes, bool) or not isinstance(batch_axes, int) or batch_axes < 0:
        raise ArgumentError(
            f"batch_axes={shown(batch_axes)}: an integer from 0 is expected, how many of the first axes of z0 are "
            "batch axes."
        )
