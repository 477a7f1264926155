"""A fixed point as a tree of parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from optlayers.errors import ArgumentError
from optlayers.implicit.cells import check_cell, check_inputs
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
        check_cell(cell)
        fixed_point.check(batch_axes, settings)
        self._set(cell, batch_axes, tuple(settings.items()))

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[Any, Any]], tuple[int, tuple[tuple[str, Any], ...]]]:
        """As `jax.tree_util` asks for it."""
        return ((jax.tree_util.GetAttrKey("cell"), self.cell),), (self.batch_axes, self.settings)

    @classmethod
    def tree_unflatten(cls, kept: tuple[int, tuple[tuple[str, Any], ...]], leaves: tuple[Any]) -> FixedPointLayer:
        """As `jax.tree_util` asks for it."""
        layer = object.__new__(cls)  # JAX puts other things than cells in their place
        layer._set(leaves[0], *kept)
        return layer

    def __call__(self, *inputs: Any, z0: Any = None) -> Any:
        """The fixed point, from z0; from zeros like the first input, if None. As `fixed_point`, with its info if
        `return_info` was given."""
        start = self._start(inputs, z0)
        return fixed_point(_apply, start, (self.cell, inputs), batch_axes=self.batch_axes, **dict(self.settings))

    def explain(self, *inputs: Any, z0: Any = None) -> str:
        """What a call does: the equation, the solvers, their tolerances, what is differentiated."""
        start = self._start(inputs, z0)
        settings = {name: value for name, value in self.settings if name != "return_info"}
        return fixed_point.explain(_apply, start, (self.cell, inputs), batch_axes=self.batch_axes, **settings)

    def _start(self, inputs: tuple[Any, ...], z0: Any) -> Any:
        check_inputs(self.cell, inputs)
        if z0 is not None:
            return z0
        if not inputs or not isinstance(inputs[0], (jax.Array, np.ndarray, np.generic)):
            raise ArgumentError("z0 is missing: it is zeros like the first input only where that is an array.")
        return jnp.zeros_like(inputs[0])

    def _set(self, cell: Any, batch_axes: int, settings: tuple[tuple[str, Any], ...]) -> None:
        object.__setattr__(self, "cell", cell)
        object.__setattr__(self, "batch_axes", batch_axes)
        object.__setattr__(self, "settings", settings)


def _apply(z: Any, theta: Any) -> Any:
    cell, inputs = theta
    return cell(z, *inputs)
