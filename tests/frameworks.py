"""The transformations that PyTorch and JAX share, under one set of names, so that one contract is written for both."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.utils.checkpoint
from oracles import unchecked

import optlayers.jax
import optlayers.torch

Function = Callable[..., Any]


@final
@dataclass(frozen=True)
class Framework:
    """Layers and transformations of functions of arrays. `jvp(f, z, d)` and `vjp(f, z, g)` give the products only.

    whole: the function, as it is fast to run once: compiled in JAX, where each new operation is compiled by itself.
    unchecked: a context in which functions can be traced.
    """

    name: str
    layer: Callable[..., Callable[..., tuple[Any, ...]]]
    array: Callable[[np.ndarray], Any]
    concatenate: Callable[[Sequence[Any]], Any]
    sin: Function
    grad: Function
    jvp: Callable[[Function, Any, Any], Any]
    vjp: Callable[[Function, Any, Any], Any]
    linearize: Callable[[Function, Any, Any], Any]
    jacfwd: Function
    jacrev: Function
    hessian: Function
    vmap: Function
    jit: Function
    checkpoint: Callable[[Function], Function]
    whole: Callable[[Function], Function]
    unchecked: Callable[[], AbstractContextManager[None]] = nullcontext


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
    layer=optlayers.torch.CvxpyLayer,
    array=torch.tensor,
    concatenate=torch.cat,
    sin=torch.sin,
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

JAX = Framework(
    name="jax",
    layer=optlayers.jax.CvxpyLayer,
    array=jnp.asarray,
    concatenate=jnp.concatenate,
    sin=jnp.sin,
    grad=jax.grad,
    jvp=lambda f, z, d: jax.jvp(f, (z,), (d,))[1],
    vjp=lambda f, z, g: jax.vjp(f, z)[1](g)[0],
    linearize=lambda f, z, d: jax.linearize(f, z)[1](d),
    jacfwd=jax.jacfwd,
    jacrev=jax.jacrev,
    hessian=jax.hessian,
    vmap=jax.vmap,
    jit=jax.jit,
    checkpoint=jax.checkpoint,
    whole=jax.jit,
)

FRAMEWORKS = (TORCH, JAX)
