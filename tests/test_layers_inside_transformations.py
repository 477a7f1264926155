"""A layer handed as it is to a transformation, and what a transformation returns handed on."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import cvxpy as cp
import pytest
import torch
from framework_torch import TORCH

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
    torch.compiler.reset()  # other tests of the process may have compiled as many layers as PyTorch allows
    compiled = TORCH.jit(torch.func.vmap(layer))
    values = torch.tensor([[1.0, -1.0, 2.0], [-3.0, 0.5, 0.25]])
    torch.testing.assert_close(compiled(values)[0], values.clamp(min=0))


SHARDED = """
import jax, jax.numpy as jnp, cvxpy as cp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from optlayers.jax import CvxpyLayer

x, p = cp.Variable(3), cp.Parameter(3, name="p")
layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x >= 0]), [p], [x])
mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
values = jax.random.normal(jax.random.key(0), (8, 3)) + 2 * jnp.eye(8, 3)
sharded = jax.device_put(values, NamedSharding(mesh, PartitionSpec("batch")))
square = lambda p: jnp.sum(layer(p)[0] ** 2) / 2
for function, expected in [
    (lambda p: layer(p)[0], jnp.maximum(values, 0)),
    (jax.grad(square), jnp.maximum(values, 0)),
    (lambda p: jax.jvp(jax.grad(square), (p,), (p,))[1], jnp.maximum(values, 0)),
]:
    assert jnp.abs(jax.jit(function)(sharded) - expected).max() < 1e-6
"""


def test_what_jit_makes_of_a_sharded_batch_enters_other_operations() -> None:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED], env=environment, timeout=300, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
