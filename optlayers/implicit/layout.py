"""Trees of arrays as one array (*B, n), and back."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from optlayers.errors import ArgumentError
from optlayers.implicit.framework import Array, Framework
from optlayers.implicit.shown import Word, shown


@final
@dataclass(frozen=True, eq=False)
class Layout:
    """How the leaves of a tree, each (*B, *shape), stand side by side in an array (*B, n)."""

    framework: Framework
    batch: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    rebuild: Callable[[Sequence[Any]], Any]
    structure: Any

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
            raise ArgumentError(
                f"z0 has no entries for an element of the batch: its arrays have the shapes "
                f"{shown(rebuild([tuple(leaf.shape) for leaf in leaves]))}. One unknown at least is expected."
            )
        return cls(framework, batches.pop(), shapes, rebuild, framework.structure(tree))

    @property
    def size(self) -> int:
        """n"""
        return sum(math.prod(shape) for shape in self.shapes)

    def ravel(self, tree: Any, name: str) -> Array:
        """The tree as an array (*B, n). Raises `ArgumentError`, speaking of `name`, where it is none like z0."""
        tree = _in_order(tree, self.rebuild(range(len(self.shapes))))
        leaves, rebuild = self.framework.flatten(tree)
        expected = [(*self.batch, *shape) for shape in self.shapes]
        given = [tuple(leaf.shape) if self.framework.is_array(leaf) else Word(shown(leaf)) for leaf in leaves]
        if given != expected or self.framework.structure(tree) != self.structure:
            returned = " Has the function no return statement?" if tree is None else ""
            raise ArgumentError(
                f"{name} must be like z0: arrays of shapes {shown(self.rebuild(expected))} are expected, not "
                f"{shown(rebuild(given))}.{returned}"
            )
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


def _in_order(tree: Any, pattern: Any) -> Any:
    """The tree, with the entries of dicts in the order of the pattern's, where their keys are the same."""
    if {type(pattern), type(tree)} <= {dict, OrderedDict} and set(tree) == set(pattern):
        ordered = {key: _in_order(tree[key], pattern[key]) for key in pattern}
        return OrderedDict(ordered) if type(pattern) is OrderedDict else ordered
    if type(pattern) in (tuple, list) and type(tree) is type(pattern) and len(tree) == len(pattern):
        return type(pattern)(_in_order(part, like) for part, like in zip(tree, pattern, strict=True))
    return tree
