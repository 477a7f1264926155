"""Implicit layers over meshes of devices in JAX."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
jax.config.update("jax_enable_x64", True)
from optlayers.implicit import *
from optlayers.jax import argmin, fixed_point, root

assert len(jax.devices()) == 8
T = np.linspace(0.3, 1.5, 16)
def F(z, t): return z**3 + t * z - 1
def g(z, t): return z - F(z, t) / 4
def phi(z, t): return z**4 / 4 + t * z**2 / 2 - z
layers = {
    "Newton": lambda t: root(F, jnp.ones_like(t), t, batch_axes=1),
    "Anderson": lambda t: fixed_point(g, jnp.ones(t.shape), t, batch_axes=1, backward=GMRES()),
    "L-BFGS": lambda t: argmin(phi, jnp.ones(t.shape), t, batch_axes=1, backward=ConjugateGradients()),
}
z = np.array([np.real(next(r for r in np.roots([1, 0, t, -1]) if abs(r.imag) < 1e-9)) for t in T])
dz = -z / (3 * z**2 + T)

for axis in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(axis,))
    with jax.set_mesh(mesh):
        t = jax.device_put(jnp.asarray(T), NamedSharding(mesh, P("batch")))

        def everything(t):
            results = {}
            for name, layer in layers.items():
                mapped = jax.shard_map(
                    layer, mesh=mesh, in_specs=P("batch"), out_specs=P("batch"), check_vma=axis is AxisType.Auto
                )
                for f in (layer, mapped):
                    found, pullback = jax.vjp(f, t)
                    results.setdefault(name, []).append((found, *pullback(jnp.ones_like(found))))
            return results

        for name, found in jax.jit(everything)(t).items():
            for ours, slope in found:
                np.testing.assert_allclose(ours, z, rtol=1e-9, err_msg=name)
                np.testing.assert_allclose(slope, dz, rtol=1e-8, err_msg=name)
            assert axis is AxisType.Auto or ours.sharding.spec[0] == "batch"
print("sharded")
"""


def test_a_batch_sharded_over_eight_devices() -> None:
    """In a process of its own: the number of devices is fixed when JAX starts."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    run = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.endswith("sharded\n")
