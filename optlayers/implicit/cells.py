"""Cells: functions of z and of inputs, of which layers are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optlayers.errors import ArgumentError
from optlayers.implicit.shown import shown
from optlayers.implicit.signatures import refusing_signature


def check_cell(cell: Any) -> None:
    """Raise `ArgumentError` unless it can be called."""
    if not callable(cell) or isinstance(cell, type):
        raise ArgumentError(f"a layer takes a cell, an object that is called as cell(z, *inputs), not {shown(cell)}.")


def check_inputs(cell: Any, inputs: Sequence[Any]) -> None:
    """Raise `ArgumentError` where the cell does not take so many inputs."""
    signature = refusing_signature(cell, 1 + len(inputs))
    if signature is not None:
        raise ArgumentError(
            f"the layer was called with {len(inputs)} input{'' if len(inputs) == 1 else 's'}, and calls its cell as "
            f"cell(z, *inputs), but the cell takes {signature}. z0 is given by name, layer(*inputs, z0=z0)."
        )
