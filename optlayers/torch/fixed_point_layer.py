"""A fixed point as a module."""

from __future__ import annotations

from typing import Any, final

import torch

from optlayers.torch.implicit import fixed_point


@final
class FixedPointLayer(torch.nn.Module):
    """z with z = cell(z, *inputs), a deep equilibrium layer (Bai, Kolter, Koltun 2019).

    The cell's parameters and the inputs are differentiated. The cell must be a deterministic function: with dropout,
    or batch normalization in training mode, there is no fixed point.

    batch_axes: how many of the first axes of z are batch axes, of elements that the cell treats independently.
    settings: those of `fixed_point`.
    """

    def __init__(self, cell: torch.nn.Module, *, batch_axes: int = 1, **settings: Any) -> None:
        super().__init__()
        self.cell = cell
        self.batch_axes = batch_axes
        self.settings = settings

    def forward(self, *inputs: torch.Tensor, z0: Any = None) -> Any:
        """The fixed point, from z0; from zeros like the first input, if None. As `fixed_point`, with its info if
        `return_info` was given."""
        start = torch.zeros_like(inputs[0]) if z0 is None else z0
        return fixed_point(self._apply_cell, start, self._theta(inputs), batch_axes=self.batch_axes, **self.settings)

    def explain(self, *inputs: torch.Tensor, z0: Any = None) -> str:
        """What a call does: the equation, the solvers, their tolerances, what is differentiated."""
        start = torch.zeros_like(inputs[0]) if z0 is None else z0
        settings = {name: value for name, value in self.settings.items() if name != "return_info"}
        return fixed_point.explain(self._apply_cell, start, self._theta(inputs), batch_axes=self.batch_axes, **settings)

    def _theta(self, inputs: tuple[torch.Tensor, ...]) -> Any:
        return {**dict(self.cell.named_parameters()), **dict(self.cell.named_buffers())}, inputs

    def _apply_cell(self, z: Any, theta: Any) -> Any:
        state, inputs = theta
        return torch.func.functional_call(self.cell, state, (z, *inputs))
