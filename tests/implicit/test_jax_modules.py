"""Implicit layers in modules of Equinox and Flax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optlayers.errors import CaptureError
from optlayers.implicit import GMRES, Anderson
from optlayers.jax import FixedPointLayer, fixed_point


class Cell(equinox.Module):
    """z -> tanh(W z / 4 + b + x)"""

    linear: equinox.nn.Linear
    activation: Callable[[Any], Any]

    def __call__(self, z: Any, x: Any) -> Any:
        return self.activation(jax.vmap(self.linear)(z) / 4 + x)


X = np.random.default_rng(0).standard_normal((2, 3))
TARGET = np.full((2, 3), 0.3)


def by_hand(weight: Any, bias: Any) -> tuple[np.ndarray, Any, Any]:
    """z, and the gradients of |z - TARGET|^2 / 2 by the weight and the bias of the cell."""
    weight, bias, z = np.asarray(weight, np.float64), np.asarray(bias, np.float64), np.zeros((2, 3))
    for _ in range(500):
        z = np.tanh((z @ weight.T + bias) / 4 + X)
    slope = (1 - z**2)[..., None] * np.eye(3)
    u = np.linalg.solve(np.swapaxes(np.eye(3) - slope @ weight / 4, -1, -2), (z - TARGET)[..., None])[..., 0]
    along = (1 - z**2) * u / 4
    return z, along.T @ z, along.sum(axis=0)


def test_training_an_equinox_layer() -> None:
    cell = Cell(equinox.nn.Linear(3, 3, key=jax.random.key(0)), jnp.tanh)
    layer = FixedPointLayer(cell, batch_axes=1, solver=Anderson(depth=3), backward=GMRES())
    assert jax.tree.map(lambda leaf: leaf, layer) == jax.tree.map(lambda leaf: leaf, jax.tree.map(lambda x: x, layer))
    optimizer = optax.sgd(0.1)

    @equinox.filter_jit
    def step(layer: Any, state: Any) -> Any:
        loss, slope = equinox.filter_value_and_grad(lambda layer: ((layer(X) - TARGET) ** 2).sum() / 2)(layer)
        updates, state = optimizer.update(slope, state)
        return equinox.apply_updates(layer, updates), state, loss

    state = optimizer.init(equinox.filter(layer, equinox.is_array))
    weight, bias = cell.linear.weight, cell.linear.bias
    for _ in range(2):
        layer, state, loss = step(layer, state)
        z, d_weight, d_bias = by_hand(weight, bias)
        np.testing.assert_allclose(loss, ((z - TARGET) ** 2).sum() / 2, rtol=1e-9)
        weight, bias = weight - 0.1 * d_weight, bias - 0.1 * d_bias
    np.testing.assert_allclose(layer.cell.linear.weight, weight, rtol=1e-9)
    np.testing.assert_allclose(layer.cell.linear.bias, bias, rtol=1e-9)
    assert "batch (2,)" in layer.explain(X)
    with pytest.raises(CaptureError, match="module"):
        equinox.filter_grad(lambda cell: fixed_point(lambda z, x: cell(z, x), 0 * X, X, batch_axes=1).sum())(cell)


class NnxCell(flax.nnx.Module):
    def __init__(self) -> None:
        self.linear = flax.nnx.Linear(3, 3, rngs=flax.nnx.Rngs(0), param_dtype=jnp.float64)

    def __call__(self, z: Any, x: Any) -> Any:
        return jnp.tanh(self.linear(z) / 4 + x)


def test_flax_modules_and_their_states() -> None:
    cell = NnxCell()
    definition, state = flax.nnx.split(cell)
    _, d_weight, d_bias = by_hand(cell.linear.kernel[...].T, cell.linear.bias[...])

    def g(z: Any, theta: Any) -> Any:
        return flax.nnx.merge(definition, theta)(z, X)

    def loss(theta: Any) -> Any:
        z = fixed_point(
            lambda z, theta: flax.nnx.merge(definition, theta)(z, X), jnp.zeros((2, 3)), theta, batch_axes=1
        )
        return ((z - TARGET) ** 2).sum() / 2

    of_state = jax.jit(jax.grad(loss))(state)["linear"]
    of_module = jax.jit(jax.grad(lambda cell: ((FixedPointLayer(cell, batch_axes=1)(X) - TARGET) ** 2).sum() / 2))(cell)
    for ours in (of_state, {"kernel": of_module.linear.kernel, "bias": of_module.linear.bias}):
        np.testing.assert_allclose(ours["kernel"][...].T, d_weight, rtol=1e-8)
        np.testing.assert_allclose(ours["bias"][...], d_bias, rtol=1e-8)
