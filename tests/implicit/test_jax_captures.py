"""What users' functions capture, in JAX: values are read anew, derivatives are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from implicit.jax_closed_forms import T

from optlayers.errors import CaptureError
from optlayers.jax import root


def test_values_from_outside_are_read_anew_in_each_call() -> None:
    outside = {"shift": 1.0, "array": jnp.ones(2)}

    def z(t: Any) -> Any:
        return root(lambda z, t: z - t * outside["shift"] * outside["array"], jnp.zeros(2), t)

    for shift, array in ((1.0, [1.0, 2.0]), (3.0, [5.0, 7.0])):
        outside |= {"shift": shift, "array": jnp.asarray(array)}
        np.testing.assert_allclose(z(2.0), 2 * shift * np.array(array))
        np.testing.assert_allclose(jax.grad(lambda t: z(t).sum())(2.0), shift * sum(array))


def captured(t: Any) -> Any:
    """A root whose function takes t from outside."""
    return root(lambda z, _: jnp.exp(z) - t, jnp.ones(()))


@pytest.mark.parametrize(
    "transformed",
    [
        jax.grad(captured),
        lambda t: jax.jvp(captured, (t,), (1.0,)),
        lambda t: jax.linearize(captured, t),
        jax.jit(jax.grad(captured)),
        jax.grad(jax.jit(captured)),
        jax.grad(jax.checkpoint(captured)),
        jax.grad(lambda t: jax.vmap(lambda s: captured(s * t))(jnp.ones(2)).sum()),
        jax.grad(lambda t: jax.lax.scan(lambda carry, _: (captured(carry), None), t, None, length=2)[0]),
        jax.grad(lambda t: jax.lax.cond(t > 0, captured, lambda t: t, t)),
    ],
)
def test_a_captured_value_gets_no_derivative_in_silence(transformed: Callable[[Any], Any]) -> None:
    with pytest.raises(CaptureError, match=r"root uses a value from outside.*through theta"):
        transformed(1.5)


def test_a_captured_value_without_derivative_may_be_mapped_and_compiled() -> None:
    def derivative(t: Any) -> Any:
        return jax.grad(lambda s: root(lambda z, s: jnp.exp(z) - s * t, jnp.ones(()), s))(2.0)

    z, gradient = jax.jit(jax.vmap(lambda t: (captured(t), derivative(t))))(jnp.asarray(T))
    np.testing.assert_allclose(z, np.log(T), rtol=1e-9)
    np.testing.assert_allclose(gradient, np.full(3, 0.5), rtol=1e-9)
    stopped = jax.grad(lambda t: captured(jax.lax.stop_gradient(t)) + t)
    assert stopped(1.5) == 1
