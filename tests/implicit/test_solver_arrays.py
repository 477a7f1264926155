"""Arrays that solvers hold, inside transformations: constants, of which nothing is differentiated."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from implicit.equations import JAX, TORCH, Backend

from optlayers.errors import CaptureError, OptionError
from optlayers.implicit import GMRES, Bisection, Newton, Preconditioner


def cube_root(backend: Backend, end: Any, t: Any) -> Any:
    start = backend.xp.ones_like(t[..., None])
    solver = Bisection(low=end - 1, high=end + 2.0)
    return backend.functions["root"](lambda z, t: z**3 - t[..., None], start, t, solver=solver)[..., 0]


def slope(t: Any) -> Any:
    return t ** (-2 / 3) / 3


def test_jax_transforms_the_ends_of_an_interval(without_checks: None) -> None:
    t = jnp.array([0.2, 0.5, 0.8])

    def f(end: Any, t: Any) -> Any:
        return cube_root(JAX, end, t)

    for by_end, by_t in (
        jax.grad(f, (0, 1))(t[0], t[1]),
        jax.jit(jax.grad(f, (0, 1)))(t[0], t[1]),
        jax.grad(jax.jit(f), (0, 1))(t[0], t[1]),
    ):
        np.testing.assert_allclose((by_end, by_t), (0, slope(t[1])), rtol=1e-9)
    np.testing.assert_allclose(jax.jvp(f, (t[0], t[1]), (1.0, 1.0))[1], slope(t[1]), rtol=1e-9)
    np.testing.assert_allclose(jax.vmap(f)(t, t), jnp.cbrt(t), rtol=1e-9)
    np.testing.assert_allclose(jax.vmap(f, (0, None))(t, t[0]), jnp.cbrt(t[0]), rtol=1e-9)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(f, 1)))(t, t), slope(t), rtol=1e-9)


def G(A: Any, z: Any, t: Any) -> Any:
    return z @ A + z**3 / 10 - t


def test_jax_transforms_preconditioners(without_checks: None) -> None:
    A, t = jnp.array([[2.0, 1.0], [0.0, 3.0]]), jnp.array([1.0, 2.0])
    root = JAX.functions["root"]

    def plain(t: Any) -> Any:
        return root(lambda z, t: G(A, z, t), jnp.ones(2), t)[0]

    def f(scale: Any, t: Any, stopped: bool | None = None) -> Any:
        if stopped is None:
            preconditioner: Any = root.neighbour(lambda z, t: G(A, z, t), scale * jnp.ones(2), t)
        else:
            factor = jax.lax.stop_gradient(scale) if stopped else scale
            preconditioner = Preconditioner(lambda r, transpose: r * factor)
        solver = GMRES(preconditioner=preconditioner)
        return root(lambda z, t: G(A, z, t), jnp.ones(2), t, solver=Newton(linear=solver), backward=solver)[0]

    expected = jax.grad(plain)(t)
    for gradient in (jax.grad(f, (0, 1)), jax.grad(jax.jit(f), (0, 1))):
        by_scale, by_t = gradient(0.5, t)
        assert float(by_scale) == 0
        np.testing.assert_allclose(by_t, expected, rtol=1e-9)
    np.testing.assert_allclose(jax.jit(jax.vmap(f, (0, None)))(jnp.array([0.4, 0.5]), t), plain(t), rtol=1e-9)
    np.testing.assert_allclose(jax.grad(f, 1)(0.5, t, True), expected, rtol=1e-9)
    with pytest.raises(CaptureError, match=r"to Preconditioner, takes from outside a value .* jax\.lax\.stop_gradient"):
        jax.grad(f)(0.5, t, False)
    assert float(jax.grad(f)(0.5, t, True)) == 0


def test_torch_differentiates_past_the_ends_of_an_interval() -> None:
    end, t = torch.tensor(0.2, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    by_end, by_t = torch.func.grad(lambda end, t: cube_root(TORCH, end, t), (0, 1))(end, t)
    np.testing.assert_allclose((by_end, by_t), (0, slope(t)), rtol=1e-9)
    g = torch.autograd.grad(cube_root(TORCH, end.requires_grad_(), t.requires_grad_()), (end, t), allow_unused=True)
    assert g[0] is None
    np.testing.assert_allclose(g[1], slope(t.detach()), rtol=1e-9)


def test_torch_s_vmap_does_not_reach_into_solvers() -> None:
    end, t = torch.tensor([0.2, 0.5], dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    with pytest.raises(OptionError, match=r"an array of a solver .* is mapped by vmap.*batch_axes="):
        torch.func.vmap(lambda end: cube_root(TORCH, end, t))(end)
    z = torch.func.vmap(lambda t: cube_root(TORCH, end[0], t))(end)
    np.testing.assert_allclose(z, end ** (1 / 3), rtol=1e-9)
