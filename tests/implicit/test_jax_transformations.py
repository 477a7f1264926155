"""Implicit layers under JAX's transformations.

The solutions are known functions of t: the oracle is the same transformation of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from implicit.jax_closed_forms import CLOSED, S, T, each_kind, solution

from optlayers.implicit import GMRES, Anderson, FixedPointIteration, Newton
from optlayers.jax import argmin, root


def in_loops(f: Callable[..., Any], t: Any) -> Any:
    """f inside a scan whose carry goes through it, under a condition, in checkpoints."""

    @jax.checkpoint
    def step(carry: Any, s: Any) -> tuple[Any, None]:
        return jax.lax.cond(s > 1, lambda: f(t, s) * carry, lambda: carry + f(t * (1 + carry**2), s)), None

    return jax.lax.scan(step, t, jnp.asarray([0.7, 1.2, 1.3]))[0]


def every_transformation(f: Callable[..., Any]) -> dict[str, Any]:
    """Of f, a function of two numbers."""
    t, s = jnp.asarray(T), jnp.asarray(S)
    along = jax.linearize(f, t[0], s[0])[1]
    return {
        "map": jax.lax.map(lambda t: f(t, s[0]), t),
        "vmap": jax.vmap(f, (None, 0))(t[0], s),
        "nested vmap": jax.vmap(jax.vmap(f, (0, None)), (None, 0), 1)(t, s),
        "grad": jax.vmap(jax.grad(f, (0, 1)))(t[:2], s),
        "linearize": (f(t[0], s[0]), along(1.0, 0.0), along(0.0, 1.0)),
        "jacfwd": jax.jacfwd(lambda t: jax.vmap(f, (0, None))(t, s[0]))(t),
        "jacrev": jax.jacrev(lambda t: jax.vmap(f, (0, None))(t, s[0]))(t),
        "forward over reverse": jax.jacfwd(jax.grad(f, (0, 1)), (0, 1))(t[0], s[0]),
        "reverse over reverse": jax.jacrev(jax.grad(f, (0, 1)), (0, 1))(t[0], s[0]),
        "reverse over forward": jax.grad(lambda t: jax.jvp(f, (t, s[0]), (1.0, 1.0))[1])(t[0]),
        "third": jax.grad(jax.jacfwd(jax.grad(f)))(t[0], s[0]),
        "loops": jax.jvp(jax.value_and_grad(lambda t: in_loops(f, t)), (t[0],), (1.0,)),
    }


@each_kind
@pytest.mark.usefixtures("without_checks")
def test_transformations(kind: str) -> None:
    ours = jax.jit(lambda: every_transformation(lambda t, s: solution(kind, t, s)))()
    expected = jax.jit(lambda: every_transformation(CLOSED[kind]))()
    for name in ours:
        jax.tree.map(
            lambda a, b, name=name: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9, err_msg=name),
            ours[name],
            expected[name],
        )


@each_kind
def test_outside_of_jit(kind: str) -> None:
    np.testing.assert_allclose(solution(kind, 1.9, 0.7), CLOSED[kind](1.9, 0.7), rtol=1e-9)
    gradient = jax.grad(lambda t: solution(kind, t, 0.7))(1.9)
    np.testing.assert_allclose(gradient, jax.grad(CLOSED[kind])(1.9, 0.7), rtol=1e-9)


@pytest.mark.usefixtures("without_checks")
def test_a_layer_inside_a_layer() -> None:
    """The inner minimum is log(t z), the outer root 2 / t."""

    def F(z: Any, t: Any) -> Any:
        return argmin(lambda w, theta: jnp.exp(w) - theta[0] * theta[1] * w, 0.0, (t, z)) - jnp.log(2)

    def z(t: Any) -> Any:
        return root(F, 1.0, t)

    (value, slope), (_, second) = jax.jit(lambda t: jax.jvp(jax.value_and_grad(z), (t,), (1.0,)))(1.5)
    np.testing.assert_allclose((value, slope, second), (2 / 1.5, -2 / 1.5**2, 4 / 1.5**3), rtol=1e-8)


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize(
    "settings",
    [
        {"differentiate": "unrolled"},
        {"differentiate": "unrolled", "checkpoint": True},
        {"differentiate": "unrolled", "last": 60},
        {"differentiate": "one_step", "solver": Newton()},
    ],
)
def test_other_derivatives_under_jit_and_vmap(settings: dict[str, Any]) -> None:
    settings = {"solver": FixedPointIteration(tolerance=1e-14, max_iterations=100)} | settings

    def z(t: Any) -> Any:
        return solution("fixed_point", t, **settings)

    slope, along = jax.jit(jax.vmap(lambda t: (jax.grad(z)(t), jax.jvp(z, (t,), (1.0,))[1])))(jnp.asarray(T))
    np.testing.assert_allclose(slope, 0.5 / np.sqrt(T), rtol=1e-9)
    np.testing.assert_allclose(along, slope, rtol=1e-12)


def test_a_compiled_function_is_traced_once() -> None:
    traces = []

    def F(z: Any, t: Any) -> Any:
        traces.append(None)
        return jnp.exp(z) - t

    compiled = jax.jit(jax.grad(lambda t: root(F, jnp.ones(()), t, solver=Anderson(), backward=GMRES())))
    np.testing.assert_allclose(compiled(1.5), 1 / 1.5, rtol=1e-9)
    count = len(traces)
    np.testing.assert_allclose(compiled(1.7), 1 / 1.7, rtol=1e-9)
    assert len(traces) == count
    assert compiled._cache_size() == 1


def test_an_export_is_refused_in_clear_words() -> None:
    shape = jax.ShapeDtypeStruct((), jnp.float64)
    with pytest.raises(NotImplementedError, match="host_callbacks"):
        jax.export.export(jax.jit(lambda t: solution("root", t)))(shape).serialize()
