"""What JAX users build around a layer: loops, meshes of devices, precision, modules, training, exports."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cvxpy as cp
import equinox
import flax.linen
import flax.nnx
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import DIRECTIONS, Restriction
from every_cone_jax import CASES, every_cone
from oracles import require_close

import optlayers
from optlayers.jax import CvxpyLayer

pytestmark = pytest.mark.usefixtures("without_checks")

HORIZON, STATES, INPUTS = 5, 2, 1


def control() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """A small model predictive controller: the first input from the state and the weight of the state."""
    x, u = cp.Variable((HORIZON + 1, STATES)), cp.Variable((HORIZON, INPUTS))
    start, weight = cp.Parameter(STATES), cp.Parameter(STATES)
    A, B = np.array([[1.0, 0.2], [0.0, 1.0]]), np.array([[0.0], [0.2]])
    dynamics = [x[0] == start, *(x[t + 1] == A @ x[t] + B @ u[t] for t in range(HORIZON)), cp.abs(u) <= 1]
    cost = cp.sum_squares(x) + 0.1 * cp.sum_squares(u) + cp.sum(x @ weight)
    return cp.Problem(cp.Minimize(cost), dynamics), [start, weight], [u]


PROBLEM = control()
LAYER = CvxpyLayer(*PROBLEM)
A, B = jnp.array([[1.0, 0.2], [0.0, 1.0]]), jnp.array([[0.0], [0.2]])


def closed_loop(weight: Any, start: Any, steps: int = 6) -> Any:
    def step(state: Any, _: None) -> tuple[Any, Any]:
        (u,) = LAYER(state, weight)
        return A @ state + B @ u[0], state

    return (jax.lax.scan(step, start, None, length=steps)[1] ** 2).sum()


def test_a_controller_in_a_scan() -> None:
    start, weight = jnp.array([2.0, -0.5]), jnp.array([0.1, 0.2])
    state, states = start, []
    for _ in range(6):
        states.append(state)
        state = A @ state + B @ LAYER(state, weight)[0][0]
    cost = jax.jit(closed_loop)(weight, start)
    np.testing.assert_allclose(cost, (jnp.stack(states) ** 2).sum(), rtol=1e-12)
    gradient = jax.jit(jax.grad(closed_loop))(weight, start)
    hessian = jax.jit(jax.jacfwd(jax.grad(closed_loop)))(weight, start)
    for i, move in enumerate(1e-5 * np.eye(2)):
        difference = (closed_loop(weight + move, start) - closed_loop(weight - move, start)) / 2e-5
        np.testing.assert_allclose(gradient[i], difference, rtol=1e-7)
        gradients = [jax.grad(closed_loop)(weight + sign * move, start) for sign in (1, -1)]
        np.testing.assert_allclose(hessian[i], (gradients[0] - gradients[1]) / 2e-5, rtol=1e-6, atol=1e-8)
    rematerialized = jax.jit(jax.grad(jax.checkpoint(closed_loop)))(weight, start)
    np.testing.assert_allclose(rematerialized, gradient, rtol=1e-10)


TRAINED_STEPS = 3
OPTIMIZER = optax.adam(0.1)
START = np.array([0.3, -0.5, 0.2])


def test_training_in_a_checkpointed_scan_on_every_cone() -> None:
    """Adam on |f(z)|^2 / 2 for each cone, and the derivative of the last loss by the start, on the plain path too."""
    starts = {cone: jnp.asarray(START) for cone in CASES}

    def loss(z: Any) -> Any:
        return sum((case.f(z[cone]) ** 2).sum() / 2 for cone, case in CASES.items())

    def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], Any]:
        z, state = carry
        updates, state = OPTIMIZER.update(jax.grad(jax.checkpoint(loss))(z), state)
        return (optax.apply_updates(z, updates), state), z

    trained = jax.jit(lambda z: jax.lax.scan(step, (z, OPTIMIZER.init(z)), None, length=TRAINED_STEPS)[0][0])(starts)
    for cone, case in CASES.items():
        expected = adam_on_the_plain_path(case.restriction)
        assert np.abs(expected - START).max() > 0.1
        require_close(np.asarray(trained[cone]), expected, 1e-10)


def adam_on_the_plain_path(restriction: Restriction) -> np.ndarray:
    z = START
    state = OPTIMIZER.init(jnp.asarray(z))
    for _ in range(TRAINED_STEPS):
        gradient = jnp.asarray(restriction.f(z) @ restriction.jacobian(z))
        updates, state = OPTIMIZER.update(gradient, state)
        z = z + np.asarray(updates)
    return z


def test_a_checkpointed_scan_of_every_cone_is_differentiated() -> None:
    """z <- z / 2 + sin(W f(z)), each cone's by itself: the derivative of the last state by the first."""
    matrices = {
        cone: np.random.default_rng(3).standard_normal((DIRECTIONS, len(case.cotangent)))
        for cone, case in CASES.items()
    }

    def rolled(starts: Any) -> Any:
        def step(z: Any, _: None) -> tuple[Any, None]:
            return {cone: z[cone] / 2 + jnp.sin(matrices[cone] @ case.f(z[cone])) for cone, case in CASES.items()}, None

        return jax.lax.scan(jax.checkpoint(step), starts, None, length=2)[0]

    starts = {cone: jnp.asarray(START) for cone in CASES}
    last, pullback = jax.vjp(jax.jit(rolled), starts)
    (ours,) = pullback({cone: jnp.ones(DIRECTIONS) for cone in CASES})
    for cone, case in CASES.items():
        z, slope = START, np.eye(DIRECTIONS)
        for _ in range(2):
            inner = matrices[cone] @ case.restriction.f(z)
            along = np.cos(inner)[:, None] * (matrices[cone] @ case.restriction.jacobian(z))
            z, slope = z / 2 + np.sin(inner), (np.eye(DIRECTIONS) / 2 + along) @ slope
        require_close(np.asarray(last[cone]), z, 1e-10)
        require_close(np.asarray(ours[cone]), np.ones(DIRECTIONS) @ slope, 1e-10)


@pytest.mark.parametrize("cone", CASES)
def test_without_x64_every_cone_is_solved_in_double_precision(cone: str) -> None:
    """At the single-precision numbers given, and then rounded. JAX takes the logarithms of a geometric program and
    their exponentials in single precision: each of them rounds by some units."""
    case, tolerance = CASES[cone], 8 * jnp.finfo(jnp.float32).eps
    with jax.enable_x64(False):
        arguments = tuple(jnp.asarray(value, dtype=jnp.float32) for value in case.restriction.values(case.z))
        found, pullback = jax.vjp(case.layer, *arguments)
        gradients = pullback(tuple(jnp.ones_like(output) for output in found))
    solution = case.restriction.compiled.solve(*(np.asarray(each, dtype=np.float64) for each in arguments))
    exact = case.restriction.compiled.vjp(solution, *(np.ones_like(output) for output in solution.outputs))
    for output, expected in zip(found, solution.outputs, strict=True):
        assert output.dtype == jnp.float32
        if cone == "log-log":
            require_close(np.asarray(output, dtype=np.float64), expected, tolerance)
        else:
            np.testing.assert_array_equal(output, expected.astype(np.float32))
    for ours, expected in zip(gradients, exact, strict=True):
        assert ours.dtype == jnp.float32
        require_close(np.asarray(ours, dtype=np.float64), expected, tolerance)


def test_without_x64_second_derivatives_are_right_to_single_precision() -> None:
    with jax.enable_x64(False):

        def single(weight: Any) -> Any:
            return (LAYER(jnp.array([2.0, -0.5]), weight)[0] ** 2).sum()

        coarse = jax.hessian(single)(jnp.array([0.1, 0.2]))
        assert coarse.dtype == jnp.float32
    with jax.enable_x64(True):
        fine = jax.hessian(single)(jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(coarse, fine, rtol=1e-5, atol=1e-6)


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
jax.config.update("jax_enable_x64", True)
import cvxpy as cp
from every_cone_jax import CASES, every_cone
from optlayers.jax import CvxpyLayer

x, start, weight = cp.Variable(2), cp.Parameter(2), cp.Parameter(2)
problem = cp.Problem(cp.Minimize(cp.sum_squares(x - start) + weight @ x), [cp.abs(x) <= 1])
LAYER = CvxpyLayer(problem, [start, weight], [x])
rng = np.random.default_rng(0)
starts, weight = jnp.asarray(rng.standard_normal((16, 2))), jnp.array([0.1, 0.2])
assert len(jax.devices()) == 8


def inputs(starts, weight):
    return LAYER(starts, weight)[0]


def loss(starts, weight):
    return (inputs(starts, weight) ** 2).sum()


def curvature(starts, weights):
    return jax.vmap(jax.hessian(lambda s, w: (LAYER(s, w)[0] ** 2).sum(), argnums=1))(starts, weights)


def check(ours, plain):
    np.testing.assert_allclose(np.asarray(ours), np.asarray(plain), rtol=1e-10, atol=1e-12)


families = [case.restriction for case in CASES.values()]
z = jnp.asarray(rng.standard_normal((8, 3)))
g = jnp.linspace(-1, 1, every_cone(z).shape[-1])
rows = np.stack([np.concatenate([family.f(row) for family in families]) for row in np.asarray(z)])
slopes = np.stack([g @ np.concatenate([family.jacobian(row) for family in families]) for row in np.asarray(z)])
weights = jnp.broadcast_to(weight, (16, 2))
second = jax.device_put(starts, jax.devices()[1])
assert inputs(second, weight).devices() == jax.grad(loss)(second, weight).devices() == {jax.devices()[1]}
for axis in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(axis,))
    with jax.set_mesh(mesh):
        here = [jax.device_put(array, NamedSharding(mesh, P("batch"))) for array in (starts, weights)]
        all_over = jax.device_put(weight, NamedSharding(mesh, P()))
        for check_vma in (True, False):
            def shard(f, specs, out=P("batch")):
                return jax.jit(jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=out, check_vma=check_vma))

            mapped = shard(inputs, (P("batch"), P()))
            check(mapped(here[0], all_over), inputs(starts, weight))
            assert mapped(here[0], all_over).sharding.spec[0] == "batch"
            gradients = jax.jit(jax.grad(lambda s, w: (mapped(s, w) ** 2).sum(), argnums=(0, 1)))(here[0], all_over)
            for ours, plain in zip(gradients, jax.grad(loss, argnums=(0, 1))(starts, weight)):
                check(ours, plain)
            check(shard(curvature, (P("batch"), P("batch")))(*here), curvature(starts, weights))
            place = jax.device_put(z, NamedSharding(mesh, P("batch")))
            cones = shard(every_cone, P("batch"))

            def weighted(z):
                found = cones(z)
                return (found * g).sum(), found

            (_, found), gradient = jax.jit(jax.value_and_grad(weighted, has_aux=True))(place)
            check(found, rows)
            check(gradient, slopes)
        eager = jax.grad(loss)(here[0], here[1])
        check(eager, jax.grad(loss)(starts, weights))
        assert axis is AxisType.Auto or eager.sharding.spec[0] == "batch"
    if axis is AxisType.Auto:
        check(jax.jit(inputs)(here[0], all_over), inputs(starts, weight))
print("sharded")
"""


def test_a_batch_sharded_over_eight_devices() -> None:
    """In a process of its own: the number of devices is fixed when JAX starts."""
    run = subprocess.run(
        [sys.executable, "-c", SHARDED],
        cwd=Path(__file__).parent,
        env={
            "PATH": "",
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8",
            "PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parent}",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.stdout.strip() == "sharded", run.stderr[-3000:]


def policy_outputs(layer: CvxpyLayer, hidden: Any) -> Any:
    """A controller's inputs, and a family of each cone."""
    inputs = layer(hidden[..., :2], jnp.zeros(2))[0]
    return jnp.concatenate([inputs.reshape(*hidden.shape[:-1], -1), every_cone(hidden)], -1)


class EquinoxPolicy(equinox.Module):
    linear: equinox.nn.Linear
    layer: CvxpyLayer

    def __call__(self, features: Any) -> Any:
        return policy_outputs(self.layer, self.linear(features))


class FlaxPolicy(flax.linen.Module):
    layer: CvxpyLayer

    @flax.linen.compact
    def __call__(self, features: Any) -> Any:
        return policy_outputs(self.layer, flax.linen.Dense(3)(features))


class NnxPolicy(flax.nnx.Module):
    def __init__(self) -> None:
        self.linear = flax.nnx.Linear(3, 3, rngs=flax.nnx.Rngs(0))
        self.layer = LAYER

    def __call__(self, features: Any) -> Any:
        return policy_outputs(self.layer, self.linear(features))


def by_hand(kernel: Any, bias: Any, features: Any) -> Any:
    """The gradients by kernel and bias, of the loss of the controller and of the plain path on every cone."""
    hidden = np.asarray(features @ kernel + bias, dtype=np.float64)
    g = np.array(jax.grad(lambda hidden: (LAYER(hidden[..., :2], jnp.zeros(2))[0] ** 2).sum())(jnp.asarray(hidden)))
    for case in CASES.values():
        for row, z in enumerate(hidden):
            g[row] += 2 * case.restriction.f(z) @ case.restriction.jacobian(z)
    return np.asarray(features).T @ g, g.sum(axis=0)


def test_inside_modules() -> None:
    features = jnp.array([[0.5, -1.0, 2.0], [0.1, 0.4, -0.3]])
    policy = EquinoxPolicy(equinox.nn.Linear(3, 3, key=jax.random.key(0)), LAYER)

    def loss(policy: Any) -> Any:
        return (jax.vmap(policy)(features) ** 2).sum()

    ours = equinox.filter_jit(equinox.filter_grad(loss))(policy).linear
    kernel, bias = by_hand(policy.linear.weight.T, policy.linear.bias, features)
    np.testing.assert_allclose(ours.weight, kernel.T, rtol=1e-10)
    np.testing.assert_allclose(ours.bias, bias, rtol=1e-10)

    linen = FlaxPolicy(LAYER)
    state = linen.init(jax.random.key(0), features)
    ours = jax.jit(jax.grad(lambda state: (linen.apply(state, features) ** 2).sum()))(state)["params"]["Dense_0"]
    kernel, bias = by_hand(*(state["params"]["Dense_0"][name] for name in ("kernel", "bias")), features)
    np.testing.assert_allclose(ours["kernel"], kernel, rtol=1e-5)
    np.testing.assert_allclose(ours["bias"], bias, rtol=1e-5)

    nnx = NnxPolicy()
    ours = flax.nnx.jit(flax.nnx.grad(lambda policy: (policy(features) ** 2).sum()))(nnx)["linear"]
    kernel, bias = by_hand(nnx.linear.kernel[...], nnx.linear.bias[...], features)
    np.testing.assert_allclose(ours["kernel"][...], kernel, rtol=1e-5)
    np.testing.assert_allclose(ours["bias"][...], bias, rtol=1e-5)


def train(steps: int) -> tuple[Any, Any]:
    """Adam on the weight of the controller, all steps in one compiled scan."""
    starts = jnp.asarray(np.random.default_rng(0).standard_normal((4, STATES)))
    optimizer = optax.adam(0.1)

    def loss(weight: Any) -> Any:
        return ((LAYER(starts, weight)[0] - 0.2) ** 2).sum()

    def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], Any]:
        weight, state = carry
        value, gradient = jax.value_and_grad(loss)(weight)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(weight, updates), state), value

    weight = jnp.zeros(STATES)
    run = jax.jit(lambda weight: jax.lax.scan(step, (weight, optimizer.init(weight)), None, length=steps))
    run = run.lower(weight).compile()
    return run, weight


def test_training_in_a_scan_costs_what_the_solves_cost() -> None:
    """A step of a compiled loop beside the same solve and derivative called from Python on NumPy arrays."""
    steps = 20
    run, weight = train(steps)
    start = time.perf_counter()
    (_, losses) = jax.block_until_ready(run(weight))
    looped = (time.perf_counter() - start) / steps
    assert losses[-1] < losses[0]
    compiled = optlayers.compile(*PROBLEM)
    starts = np.random.default_rng(0).standard_normal((4, STATES))
    alone = np.inf
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(5):
            solution = compiled.solve(starts, np.zeros(STATES))
            compiled.vjp(solution, np.ones((4, HORIZON, INPUTS)))
        alone = min(alone, (time.perf_counter() - start) / 5)
    assert looped < 3 * alone, f"{looped * 1e3:.2f} ms a step, {alone * 1e3:.2f} ms for the solve alone"


def test_an_export_is_refused_in_clear_words() -> None:
    shapes = [jax.ShapeDtypeStruct((2,), jnp.float64)] * 2
    with pytest.raises(NotImplementedError, match="host_callbacks"):
        jax.export.export(jax.jit(LAYER))(*shapes).serialize()
