"""A layer of each cone within one PyTorch module, for processes that do without JAX."""

from __future__ import annotations

import torch
from cases import DIRECTIONS, NAMES, outputs_at, restriction

from optlayers.torch import CvxpyLayer

FEATURES = 5


class EveryCone(torch.nn.Module):
    """A network that predicts z for a family of each cone, and all outputs of these (*B, k)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(FEATURES, DIRECTIONS).double()
        restrictions = [restriction(cone) for cone in NAMES]
        self.layers = torch.nn.ModuleList(each.built(CvxpyLayer) for each in restrictions)
        self.parameters_along = [
            tuple([torch.tensor(array) for array in arrays] for arrays in (each.instance.values, each.moves))
            for each in restrictions
        ]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        z = torch.tanh(self.linear(features))
        found = [
            outputs_at(torch, layer, *arrays, z)
            for layer, arrays in zip(self.layers, self.parameters_along, strict=True)
        ]
        return torch.cat(found, -1)
