"""Arguments of implicit layers in JAX: what is no array, precision, dtypes that are refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from implicit.jax_closed_forms import CLOSED, each_kind, solution

from optlayers.errors import ArgumentError
from optlayers.jax import root


def test_what_is_no_array_in_theta_stays_as_it_is() -> None:
    theta = {"power": 2, "on": True, "shift": jnp.asarray(3), "none": None, "name": "square", "t": 1.5, "f": jnp.exp}

    def F(z: Any, theta: Any) -> Any:
        assert theta["name"] == "square"
        assert theta["none"] is None
        return theta["f"](z) ** theta["power"] + theta["shift"] - jnp.where(theta["on"], theta["t"], 0) * 4

    def z(t: Any) -> Any:
        return root(F, 1.0, theta | {"t": t})

    (value, gradient), compiled = jax.value_and_grad(z)(1.5), jax.jit(jax.grad(z))(1.5)
    np.testing.assert_allclose(value, np.log(3) / 2, rtol=1e-9)
    np.testing.assert_allclose((gradient, compiled), 2 / 3, rtol=1e-9)


@each_kind
def test_single_precision(kind: str) -> None:
    """To eps^(2/3), the tolerance, which is that of z; derivatives too."""
    with jax.enable_x64(False):
        found, slope = jax.jit(jax.value_and_grad(lambda t: solution(kind, t)))(jnp.float32(1.9))
    assert found.dtype == slope.dtype == jnp.float32
    tolerance = 8 * float(jnp.finfo(jnp.float32).eps) ** (2 / 3)
    np.testing.assert_allclose(found, CLOSED[kind](1.9, 1.0), atol=tolerance)
    np.testing.assert_allclose(slope, jax.grad(CLOSED[kind])(1.9, 1.0), atol=tolerance)


@pytest.mark.parametrize("dtype", [jnp.complex128, jnp.bfloat16, jnp.int32])
def test_equations_are_solved_in_real_numbers_of_enough_digits(dtype: Any) -> None:
    with pytest.raises(ArgumentError, match=f"{jnp.dtype(dtype)}"):
        root(lambda z, x: z * z - x, jnp.ones(2, dtype), jnp.ones(2, dtype))
