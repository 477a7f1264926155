"""JAX's transformations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from framework import Framework

import optlayers.jax

JAX = Framework(
    name="jax",
    xp=jnp,
    layer=optlayers.jax.CvxpyLayer,
    array=jnp.asarray,
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
