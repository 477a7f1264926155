"""PyTorch's transformations."""

from __future__ import annotations

import warnings

import torch
import torch.utils.checkpoint
from framework import Framework, Function
from oracles import unchecked

import optlayers.torch


def _linearize(f: Function, z: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        # PyTorch's, of the tangents that its own tracing keeps, whatever the function.
        warnings.filterwarnings("ignore", message="Attempted to insert a get_attr Node")
        result: torch.Tensor = torch.func.linearize(f, z)[1](d)
    return result


def _compile(f: Function, backend: str = "aot_eager") -> Function:
    """Compiled whole."""
    compiled = torch.compile(f, fullgraph=True, backend=backend)

    def call(*z: torch.Tensor) -> torch.Tensor:
        with unchecked():
            result: torch.Tensor = compiled(*z)
        return result

    return call


TORCH = Framework(
    name="torch",
    xp=torch,
    layer=optlayers.torch.CvxpyLayer,
    array=torch.tensor,
    grad=torch.func.grad,
    jvp=lambda f, z, d: torch.func.jvp(f, (z,), (d,))[1],
    vjp=lambda f, z, g: torch.func.vjp(f, z)[1](g)[0],
    linearize=_linearize,
    jacfwd=torch.func.jacfwd,
    jacrev=torch.func.jacrev,
    hessian=torch.func.hessian,
    vmap=torch.func.vmap,
    jit=_compile,
    checkpoint=lambda f: lambda *z: torch.utils.checkpoint.checkpoint(f, *z, use_reentrant=False),
    whole=lambda f: f,
    unchecked=unchecked,
)
