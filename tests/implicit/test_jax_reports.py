"""Failures, reports and monitors of implicit layers under JAX's jit and vmap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from implicit.jax_closed_forms import EQUATIONS, T

from optlayers.errors import AccuracyWarning, ConvergenceError, Status
from optlayers.implicit import GMRES, STATUSES, FixedPointIteration, LinearInfo, Policy
from optlayers.jax import fixed_point, root


def test_a_failure_under_jit_and_vmap() -> None:
    t = jnp.array([[1.0, -1.0]])

    def z(on_failure: str) -> Callable[[Any], Any]:
        return lambda t: root(lambda z, t: jnp.abs(z) * z**2 - t, 2.0, t, on_failure=on_failure)

    with pytest.raises(jax.errors.JaxRuntimeError, match=r"(?s)ConvergenceError: root was not.*for 1 of 1") as raised:
        jax.jit(z("raise"))(t[0, 1])
    assert "Give a better z0" in str(raised.value)
    with pytest.raises(ConvergenceError, match="for 1 of 1"):
        z("raise")(t[0, 1])
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"for 1 of 2:\s+batch index \(0, 1\)"):
        jax.jit(jax.vmap(jax.vmap(z("raise"))))(t)
    with pytest.warns(AccuracyWarning, match=r"for 1 of 2:\n +batch index \(0, 1\)"):
        found = jax.block_until_ready(jax.jit(jax.vmap(jax.vmap(z("warn"))))(t))
    np.testing.assert_allclose(found[0, 0], 1, rtol=1e-9)
    assert np.isfinite(found).all()
    found, slope = jax.jit(jax.vmap(jax.vmap(jax.value_and_grad(z("nan")))))(jnp.array([[1.0, -1.0]]))
    np.testing.assert_allclose(found, [[1, np.nan]], rtol=1e-9)
    np.testing.assert_allclose(slope, [[1 / 3, np.nan]], rtol=1e-9)


def test_the_host_is_called_only_if_there_is_something_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    reviews = []
    review = Policy.review
    monkeypatch.setattr(Policy, "review", lambda policy, info: (reviews.append(info), review(policy, info)))

    def z(t: Any) -> Any:
        return root(lambda z, t: z**3 - t, 1.0, t, on_failure="warn")

    mapped = jax.jit(jax.vmap(jax.grad(z)))
    jax.block_until_ready(mapped(jnp.array([1.0, 8.0])))
    assert reviews == []
    with pytest.warns(AccuracyWarning, match=r"batch index \(1,\)"):
        jax.block_until_ready(mapped(jnp.array([1.0, np.nan])))
    assert [info.status.shape for info in reviews] == [(2,)] * len(reviews)
    assert reviews


def test_the_report_and_the_monitor_under_jit_and_vmap() -> None:
    seen: list[LinearInfo] = []

    def z(t: Any) -> Any:
        found, info = fixed_point(
            EQUATIONS["fixed_point"], jnp.ones(()), (t, 1.0), solver=FixedPointIteration(),
            backward=GMRES(), monitor=seen.append, return_info=True,
        )  # fmt: skip
        return found, info

    gradient, info = jax.jit(jax.vmap(jax.grad(z, has_aux=True)))(jnp.asarray(T))
    jax.block_until_ready(gradient)
    assert [STATUSES[status] for status in info.status] == [Status.SOLVED] * 3
    np.testing.assert_allclose(info.contraction, 1 - np.sqrt(T) / 2, rtol=0.02)  # the derivative of g
    assert (info.residual <= 4e-11).all()
    assert [each.iterations.tolist() for each in seen] == [[1, 1, 1]]
    jax.block_until_ready(jax.jit(jax.grad(lambda t: z(t)[0]))(1.5))
    assert len(seen) == 2
    assert seen[-1].residual <= 1e-10
