"""Modules of PyTorch with an implicit layer, and their gradients, compiled or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from implicit.torch_closed_forms import normal

from optlayers.torch import FixedPointLayer


class Cell(torch.nn.Module):
    """A contraction with two parameters and a buffer; an input that is a dict, or none."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3, dtype=torch.float64)
        self.register_buffer("shift", torch.full((3,), 0.3, dtype=torch.float64))
        with torch.no_grad():
            self.linear.weight.copy_(normal(3, 3) / 5)
            self.linear.bias.copy_(normal(3, seed=2))

    def forward(self, z: torch.Tensor, x: torch.Tensor, options: Any = None) -> torch.Tensor:
        value = torch.tanh(self.linear(z) + x + self.shift)
        return value if options is None else value * options["scale"]


class Model(torch.nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.features = torch.nn.Linear(2, 3, dtype=torch.float64)
        self.layer = FixedPointLayer(Cell(), **settings)
        with torch.no_grad():
            self.features.weight.copy_(normal(3, 2, seed=3))
            self.features.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(self.features(x)).sin()
        return result


def gradients(f: Callable[..., torch.Tensor], model: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The value, and the gradients by the input and all parameters."""
    leaf = x.detach().clone().requires_grad_()
    value = f(leaf)
    return [value.detach(), *torch.autograd.grad((value * normal(*value.shape)).sum(), [leaf, *model.parameters()])]


def compiled(f: Callable[..., Any], backend: str = "eager", *, whole: bool = True) -> Callable[..., Any]:
    torch.compiler.reset()
    return torch.compile(f, fullgraph=whole, backend=backend)
