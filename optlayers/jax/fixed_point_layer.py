"""A fixed point as a tree of parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from optlayers.jax.implicit import fixed_point


@final
@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True, init=False)
class FixedPointLayer:
    """z with z = cell(z, *inputs), a deep equilibrium layer (Bai, Kolter, Koltun 2019).

    The cell is a callable tree, such as an Equinox module; the layer is a tree with its leaves, which are
    differentiated, as the inputs are.

    batch_axes: how many of the first axes of z are batch axes, of elements that the cell treats independently.
    settings: those of `fixed_point`.
    """

    cell: Callable[..., Any]
    batch_axes: int
    settings: tuple[tuple[str, Any], ...]

    def __init__(self, cell: Callable[..., Any], *, batch_axes: int = 0, **settings: Any) -> None:
        object.__setattr__(self, "cell", cell)
        object.__setattr__(self, "batch_axes", batch_axes)
        object.__setattr__(self, "settings", tuple(settings.items()))

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[Any, Any]], tuple[int, tuple[tuple[str, Any], ...]]]:
        """As `jax.tree_util` asks for it."""
        return ((jax.tree_util.GetAttrKey("cell"), self.cell),), (self.batch_axes, self.settings)

    @classmethod
    def tree_unflatten(cls, kept: tuple[int, tuple[tuple[str, Any], ...]], leaves: tuple[Any]) -> FixedPointLayer:
        """As `jax.tree_util` asks for it."""
        batch_axes, settings = kept
        return cls(leaves[0], batch_axes=batch_axes, **dict(settings))

    def __call__(self, *inputs: Any, z0: Any = None) -> Any:
        """The fixed point, from z0; from zeros like the first input, if None. As `fixed_point`, with its info if
        `return_info` was given."""
        start = jnp.zeros_like(inputs[0]) if z0 is None else z0
        return fixed_point(_apply, start, (self.cell, inputs), batch_axes=self.batch_axes, **dict(self.settings))

    def explain(self, *inputs: Any, z0: Any = None) -> str:
        """What a call does: the equation, the solvers, their tolerances, what is differentiated."""
        start = jnp.zeros_like(inputs[0]) if z0 is None else z0
        settings = {name: value for name, value in self.settings if name != "return_info"}
        return fixed_point.explain(_apply, start, (self.cell, inputs), batch_axes=self.batch_axes, **settings)


def _apply(z: Any, theta: Any) -> Any:
    cell, inputs = theta
    return cell(z, *inputs)
