"""One equation of each kind, regular, with trees for z and theta, a batch, and the frameworks that solve it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
import torch

import optlayers.jax
import optlayers.torch
from optlayers.implicit import ImplicitFunction

BATCH, SIZE = 2, 3
"""z is {"u": (BATCH, SIZE), "w": (BATCH,)}: four unknowns for each element."""


@final
@dataclass(frozen=True, eq=False)
class Backend:
    """A framework's arrays and transformations, and its implicit functions by kind."""

    name: str
    xp: Any
    array: Callable[[Any], Any]
    functions: dict[str, ImplicitFunction]
    grad: Callable[..., Callable[..., Any]]
    jvp: Callable[[Callable[..., Any], Any, Any], Any]
    vmap: Callable[..., Any]
    jit: Callable[[Callable[..., Any]], Callable[..., Any]]


def _functions(module: Any) -> dict[str, ImplicitFunction]:
    return {"root": module.root, "fixed_point": module.fixed_point, "argmin": module.argmin}


TORCH = Backend(
    "torch",
    torch,
    lambda a: torch.tensor(a),
    _functions(optlayers.torch),
    torch.func.grad,
    lambda f, z, d: torch.func.jvp(f, (z,), (d,))[1],
    torch.func.vmap,
    lambda f: f,
)
JAX = Backend(
    "jax",
    jnp,
    jnp.asarray,
    _functions(optlayers.jax),
    jax.grad,
    lambda f, z, d: jax.jvp(f, (z,), (d,))[1],
    jax.vmap,
    jax.jit,
)
BACKENDS = (TORCH, JAX)


def theta(backend: Backend) -> dict[str, Any]:
    """A matrix shared by the batch, a vector for each element, a number."""
    rng = np.random.default_rng(0)
    values = {
        "W": rng.standard_normal((SIZE, SIZE)) / 3,
        "x": rng.standard_normal((BATCH, SIZE)),
        "c": np.array(0.4),
    }
    return {name: backend.array(value) for name, value in values.items()}


def direction(backend: Backend) -> dict[str, Any]:
    """A direction of theta."""
    rng = np.random.default_rng(1)
    return {name: backend.array(rng.standard_normal(tuple(value.shape))) for name, value in theta(backend).items()}


def start(backend: Backend) -> dict[str, Any]:
    """z0"""
    return {"u": backend.array(np.zeros((BATCH, SIZE))), "w": backend.array(np.zeros(BATCH))}


def equation(backend: Backend, kind: str) -> Callable[[Any, Any], Any]:
    """F, g or phi. g and z - F are contractions; F's derivative is not symmetric; phi is strongly convex."""
    xp = backend.xp

    def g(z: Any, theta: Any) -> Any:
        u, w = z["u"], z["w"]
        return {
            "u": xp.tanh(u @ theta["W"].T + theta["x"] + theta["c"] * w[..., None]) / 2,
            "w": theta["c"] * xp.sin(xp.sum(u, axis=-1)) - w / 4,
        }

    def F(z: Any, theta: Any) -> Any:
        moved = g(z, theta)
        return {"u": z["u"] - moved["u"] + z["u"] ** 3 / 50, "w": z["w"] - moved["w"]}

    def phi(z: Any, theta: Any) -> Any:
        u, w = z["u"], z["w"]
        misfit = xp.sum((u @ theta["W"].T - theta["x"]) ** 2, axis=-1) / 4
        return misfit + xp.sum(u**2, axis=-1) / 4 + (w - theta["c"] * xp.sum(u, axis=-1)) ** 2 / 3 + xp.cos(w) / 8

    return {"root": F, "fixed_point": g, "argmin": phi}[kind]


def outputs(backend: Backend, z: Any) -> Any:
    """z in one vector."""
    return backend.xp.concatenate([z["u"].reshape(-1), z["w"].reshape(-1)])


def loss(backend: Backend, z: Any) -> Any:
    """A number that is not linear in z."""
    every = outputs(backend, z)
    weights = backend.array(np.random.default_rng(2).standard_normal(every.shape[0]))
    return backend.xp.sum(weights * backend.xp.sin(every))
