"""What is kept for the backward pass: as much after a thousand iterations as after ten, unless they are unrolled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from implicit.equations import JAX, TORCH, Backend

from optlayers.implicit import GMRES, FixedPointIteration

pytestmark = pytest.mark.usefixtures("without_checks")

SIZE, NUMBER = 50, 8
"""Unknowns, and bytes of a number."""
W = np.random.default_rng(0).standard_normal((SIZE, SIZE))
W /= np.linalg.norm(W, 2)
X = np.random.default_rng(1).standard_normal(SIZE)


def loss(backend: Backend, theta: Any, iterations: int, differentiate: str) -> Any:
    """Of a fixed point whose residual is 0.99^k after k iterations: all of them run."""
    xp = backend.xp

    def g(z: Any, theta: Any) -> Any:
        W, x = theta
        return 0.99 * z + 0.01 * xp.tanh(W @ z + x)

    settings: dict[str, Any] = {"backward": GMRES()} if differentiate == "implicit" else {}
    z, info = backend.functions["fixed_point"](
        g, 0 * theta[1], theta, solver=FixedPointIteration(tolerance=1e-14, max_iterations=iterations),
        differentiate=differentiate, on_failure="nan", return_info=True, **settings,
    )  # fmt: skip
    return xp.sum(z**2), info.iterations


def bytes_saved(iterations: int, differentiate: str) -> int:
    """By autograd, for its backward pass; each tensor once."""
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        kept.append(tensor)
        return tensor

    kept: list[torch.Tensor] = []
    theta = tuple(TORCH.array(array).requires_grad_() for array in (W, X))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _, done = loss(TORCH, theta, iterations, differentiate)
    assert int(done) == iterations
    return sum(saved.values())


def temporary_bytes(iterations: int, differentiate: str) -> int:
    """Those of the compiled gradient beside its arguments and results."""

    def value(theta: Any) -> Any:
        return loss(JAX, theta, iterations, differentiate)[0]

    theta = tuple(map(jnp.asarray, (W, X)))
    compiled = jax.jit(JAX.grad(value)).lower(theta).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("measured", [bytes_saved, temporary_bytes])
def test_memory_does_not_grow_with_the_iterations(measured: Any) -> None:
    assert measured(10, "implicit") == measured(1000, "implicit")


@pytest.mark.parametrize("measured", [bytes_saved, temporary_bytes])
def test_memory_of_unrolled_iterations_grows_with_them(measured: Any) -> None:
    """At least z is kept for each."""
    assert measured(200, "unrolled") - measured(10, "unrolled") > 190 * SIZE * NUMBER


def test_what_pytorch_keeps_is_theta_and_z() -> None:
    few_vectors = 10 * SIZE * NUMBER
    assert SIZE * SIZE * NUMBER <= bytes_saved(10, "implicit") <= SIZE * SIZE * NUMBER + few_vectors
