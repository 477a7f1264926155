"""The implicit layers under JAX's transformations, in modules and over meshes of devices.

The solutions are known functions of t: the oracle is the same transformation of these.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox
import flax.nnx
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from implicit.equations import jit

from optlayers.errors import AccuracyWarning, ArgumentError, CaptureError, ConvergenceError, Status
from optlayers.implicit import GMRES, STATUSES, Anderson, FixedPointIteration, LinearInfo, Newton, Policy
from optlayers.jax import FixedPointLayer, argmin, fixed_point, root

FUNCTIONS = {"root": root, "fixed_point": fixed_point, "argmin": argmin}
EQUATIONS: dict[str, Callable[..., Any]] = {
    "root": lambda z, theta: jnp.exp(z) - theta[0] * theta[1],
    "fixed_point": lambda z, theta: z - (z**2 - theta[0] * theta[1]) / 4,
    "argmin": lambda z, theta: jnp.exp(z) - theta[0] * theta[1] * z,
}
CLOSED: dict[str, Callable[..., Any]] = {
    "root": lambda t, s: jnp.log(t * s),
    "fixed_point": lambda t, s: jnp.sqrt(t * s),
    "argmin": lambda t, s: jnp.log(t * s),
}
T, S = np.array([0.6, 1.1, 1.9]), np.array([0.7, 1.2])

each_kind = pytest.mark.parametrize("kind", FUNCTIONS)


def solution(kind: str, t: Any, s: Any = 1.0, **settings: Any) -> Any:
    """The z of t and s, numbers."""
    return FUNCTIONS[kind](EQUATIONS[kind], jnp.ones(()), (t, s), **settings)


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
    ours = jit(lambda: every_transformation(lambda t, s: solution(kind, t, s)))()
    expected = jit(lambda: every_transformation(CLOSED[kind]))()
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

    (value, slope), (_, second) = jit(lambda t: jax.jvp(jax.value_and_grad(z), (t,), (1.0,)))(1.5)
    np.testing.assert_allclose((value, slope, second), (2 / 1.5, -2 / 1.5**2, 4 / 1.5**3), rtol=1e-8)


def test_values_from_outside_are_read_anew_in_each_call() -> None:
    outside = {"shift": 1.0, "array": jnp.ones(2)}

    def z(t: Any) -> Any:
        return root(lambda z, t: z - t * outside["shift"] * outside["array"], jnp.zeros(2), t)

    for shift, array in ((1.0, [1.0, 2.0]), (3.0, [5.0, 7.0])):
        outside |= {"shift": shift, "array": jnp.asarray(array)}
        np.testing.assert_allclose(z(2.0), 2 * shift * np.array(array))
        np.testing.assert_allclose(jax.grad(lambda t: z(t).sum())(2.0), shift * sum(array))


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

    slope, along = jit(jax.vmap(lambda t: (jax.grad(z)(t), jax.jvp(z, (t,), (1.0,))[1])))(jnp.asarray(T))
    np.testing.assert_allclose(slope, 0.5 / np.sqrt(T), rtol=1e-9)
    np.testing.assert_allclose(along, slope, rtol=1e-12)


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

    z, gradient = jit(jax.vmap(lambda t: (captured(t), derivative(t))))(jnp.asarray(T))
    np.testing.assert_allclose(z, np.log(T), rtol=1e-9)
    np.testing.assert_allclose(gradient, np.full(3, 0.5), rtol=1e-9)
    stopped = jax.grad(lambda t: captured(jax.lax.stop_gradient(t)) + t)
    assert stopped(1.5) == 1


def test_what_is_no_array_in_theta_stays_as_it_is() -> None:
    theta = {"power": 2, "on": True, "shift": jnp.asarray(3), "none": None, "name": "square", "t": 1.5, "f": jnp.exp}

    def F(z: Any, theta: Any) -> Any:
        assert theta["name"] == "square"
        assert theta["none"] is None
        return theta["f"](z) ** theta["power"] + theta["shift"] - jnp.where(theta["on"], theta["t"], 0) * 4

    def z(t: Any) -> Any:
        return root(F, 1.0, theta | {"t": t})

    (value, gradient), compiled = jax.value_and_grad(z)(1.5), jit(jax.grad(z))(1.5)
    np.testing.assert_allclose(value, np.log(3) / 2, rtol=1e-9)
    np.testing.assert_allclose((gradient, compiled), 2 / 3, rtol=1e-9)


@each_kind
def test_single_precision(kind: str) -> None:
    """To eps^(2/3), the tolerance, which is that of z; derivatives too."""
    with jax.enable_x64(False):
        found, slope = jit(jax.value_and_grad(lambda t: solution(kind, t)))(jnp.float32(1.9))
    assert found.dtype == slope.dtype == jnp.float32
    tolerance = 8 * float(jnp.finfo(jnp.float32).eps) ** (2 / 3)
    np.testing.assert_allclose(found, CLOSED[kind](1.9, 1.0), atol=tolerance)
    np.testing.assert_allclose(slope, jax.grad(CLOSED[kind])(1.9, 1.0), atol=tolerance)


def test_a_failure_under_jit_and_vmap() -> None:
    t = jnp.array([[1.0, -1.0]])

    def z(on_failure: str) -> Callable[[Any], Any]:
        return lambda t: root(lambda z, t: jnp.abs(z) * z**2 - t, 2.0, t, on_failure=on_failure)

    with pytest.raises(jax.errors.JaxRuntimeError, match=r"(?s)ConvergenceError: root was not.*for 1 of 1") as raised:
        jit(z("raise"))(t[0, 1])
    assert "Give a better z0" in str(raised.value)
    with pytest.raises(ConvergenceError, match="for 1 of 1"):
        z("raise")(t[0, 1])
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"for 1 of 2:\s+batch index \(0, 1\)"):
        jit(jax.vmap(jax.vmap(z("raise"))))(t)
    with pytest.warns(AccuracyWarning, match=r"for 1 of 2:\n +batch index \(0, 1\)"):
        found = jax.block_until_ready(jit(jax.vmap(jax.vmap(z("warn"))))(t))
    np.testing.assert_allclose(found[0, 0], 1, rtol=1e-9)
    assert np.isfinite(found).all()
    found, slope = jit(jax.vmap(jax.vmap(jax.value_and_grad(z("nan")))))(jnp.array([[1.0, -1.0]]))
    np.testing.assert_allclose(found, [[1, np.nan]], rtol=1e-9)
    np.testing.assert_allclose(slope, [[1 / 3, np.nan]], rtol=1e-9)


def test_the_host_is_called_only_if_there_is_something_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    reviews = []
    review = Policy.review
    monkeypatch.setattr(Policy, "review", lambda policy, info: (reviews.append(info), review(policy, info)))

    def z(t: Any) -> Any:
        return root(lambda z, t: z**3 - t, 1.0, t, on_failure="warn")

    mapped = jit(jax.vmap(jax.grad(z)))
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

    gradient, info = jit(jax.vmap(jax.grad(z, has_aux=True)))(jnp.asarray(T))
    jax.block_until_ready(gradient)
    assert [STATUSES[status] for status in info.status] == [Status.SOLVED] * 3
    np.testing.assert_allclose(info.contraction, 1 - np.sqrt(T) / 2, rtol=0.02)  # the derivative of g
    assert (info.residual <= 4e-11).all()
    assert [each.iterations.tolist() for each in seen] == [[1, 1, 1]]
    jax.block_until_ready(jit(jax.grad(lambda t: z(t)[0]))(1.5))
    assert len(seen) == 2
    assert seen[-1].residual <= 1e-10


def test_a_compiled_function_is_traced_once() -> None:
    traces = []

    def F(z: Any, t: Any) -> Any:
        traces.append(None)
        return jnp.exp(z) - t

    compiled = jit(jax.grad(lambda t: root(F, jnp.ones(()), t, solver=Anderson(), backward=GMRES())))
    np.testing.assert_allclose(compiled(1.5), 1 / 1.5, rtol=1e-9)
    count = len(traces)
    np.testing.assert_allclose(compiled(1.7), 1 / 1.7, rtol=1e-9)
    assert len(traces) == count
    assert compiled._cache_size() == 1


def test_an_export_is_refused_in_clear_words() -> None:
    shape = jax.ShapeDtypeStruct((), jnp.float64)
    with pytest.raises(NotImplementedError, match="host_callbacks"):
        jax.export.export(jit(lambda t: solution("root", t)))(shape).serialize()


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

    of_state = jit(jax.grad(loss))(state)["linear"]
    of_module = jit(jax.grad(lambda cell: ((FixedPointLayer(cell, batch_axes=1)(X) - TARGET) ** 2).sum() / 2))(cell)
    for ours in (of_state, {"kernel": of_module.linear.kernel, "bias": of_module.linear.bias}):
        np.testing.assert_allclose(ours["kernel"][...].T, d_weight, rtol=1e-8)
        np.testing.assert_allclose(ours["bias"][...], d_bias, rtol=1e-8)


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
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    run = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=os.environ
        | {"XLA_FLAGS": f"{flags} --xla_cpu_use_fusion_emitters=false", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.endswith("sharded\n")


@pytest.mark.parametrize("dtype", [jnp.complex128, jnp.bfloat16, jnp.int32])
def test_equations_are_solved_in_real_numbers_of_enough_digits(dtype: Any) -> None:
    with pytest.raises(ArgumentError, match=f"{jnp.dtype(dtype)}"):
        root(lambda z, x: z * z - x, jnp.ones(2, dtype), jnp.ones(2, dtype))
