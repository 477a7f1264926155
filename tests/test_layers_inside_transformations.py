"""A layer handed as it is to a transformation."""

from __future__ import annotations

import pickle
from pathlib import Path

import cvxpy as cp
import pytest
import torch
from frameworks import TORCH

import optlayers.torch
from optlayers.torch import CvxpyLayer


def projection() -> CvxpyLayer:
    x, p = cp.Variable(3), cp.Parameter(3, name="p")
    return CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x >= 0]), [p], [x])


@pytest.mark.parametrize("origin", ["made", "loaded", "unpickled"])
def test_torch_compile_of_vmap_of_the_layer_itself(origin: str, tmp_path: Path) -> None:
    layer = projection()
    if origin == "loaded":
        layer.save(tmp_path / "layer.npz")
        layer = optlayers.torch.load(tmp_path / "layer.npz")
    if origin == "unpickled":
        layer = pickle.loads(pickle.dumps(layer))
    compiled = TORCH.jit(torch.func.vmap(layer))
    values = torch.tensor([[1.0, -1.0, 2.0], [-3.0, 0.5, 0.25]])
    torch.testing.assert_close(compiled(values)[0], values.clamp(min=0))
