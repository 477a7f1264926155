"""Training with the batch sharded over devices, each of which solves its share: `jax.shard_map` inside `jax.jit`.

    python examples/sharded_jax.py

The owner of a battery buys energy where it is cheap and sells it where it is dear. At the prices c of the next twelve
periods the battery charges with the power

    p(c) = argmin  c'p + wear/2 |p|^2    subject to  |p_t| <= power,  0 <= energy of each period <= capacity,

half full at first and at last. Prices and what the battery did are seen, its wear, power and capacity are not: they are
learned from the days observed, with gradients through p (inverse optimization; Ahuja and Orlin, 2001). At the end they
are printed beside those that made the days.

The days are one array with the sharding P("days") over a mesh of devices. Inside `shard_map` every device solves and
differentiates its own days, and `pmean` averages loss and gradients, so that all devices take the same step. Under
`jit` alone the result is the same, but one device is handed the whole batch to solve. The script checks that the loss
and its gradient are, in both ways, those of the same days on one device, and measures the times.

Here the devices are eight of the host, by XLA_FLAGS, to show that the numbers agree. The time that they save is limited
by the interpreter that they share, whose lock is held for a part of every solve. Processes, on one machine or many,
have their own:

    python examples/sharded_jax.py --coordinator HOST:29500 --processes 4 --process 0    # to 3 for the others

each calls `jax.distributed.initialize`, after which `jax.devices()` are those of all processes and the mesh spans them;
each makes its own days, `jax.make_array_from_process_local_data` joins them, and nothing else changes.

R. Ahuja, J. Orlin, Inverse optimization, Operations Research 49, 2001.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import NamedTuple

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # XLA says at length that jit alone gathers the batch

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from optlayers.jax import CvxpyLayer

jax.config.update("jax_enable_x64", True)

PERIODS = 12


class Battery(NamedTuple):
    """Logarithms of what is to be learned, which is positive."""

    wear: jax.Array | float
    power: jax.Array | float
    capacity: jax.Array | float


class Days(NamedTuple):
    """Prices, and the power with which the battery was charged: (days, periods)."""

    prices: jax.Array
    charged: jax.Array


TRUTH = Battery(*np.log([0.8, 1.2, 3.0]))
GUESS = Battery(*np.log([2.0, 2.0, 2.0]))

Loss = Callable[[Battery, Days], jax.Array]
Gradient = Callable[[Battery, Days], tuple[jax.Array, Battery]]


def make_layer() -> CvxpyLayer:
    """(prices, wear, power, capacity) -> power of charging."""
    p, prices = cp.Variable(PERIODS), cp.Parameter(PERIODS)
    wear, power, capacity = (cp.Parameter(nonneg=True) for _ in range(3))
    energy = capacity / 2 + cp.cumsum(p)
    limits = [-power <= p, p <= power, energy >= 0, energy <= capacity, cp.sum(p) == 0]
    problem = cp.Problem(cp.Minimize(prices @ p + wear / 2 * cp.sum_squares(p)), limits)
    # one thread for each device, as the devices work side by side
    threads = {"n_jobs_forward": 1, "n_jobs_backward": 1}
    return CvxpyLayer(problem, [prices, wear, power, capacity], [p], solver_args=threads)


def make_loss(layer: CvxpyLayer) -> Loss:
    """The mean squared error of the predicted power, over the days given."""

    def loss(battery: Battery, days: Days) -> jax.Array:
        (predicted,) = layer(days.prices, *(jnp.exp(value) for value in battery))
        return jnp.mean((predicted - days.charged) ** 2)

    return loss


def shard(loss: Loss, mesh: Mesh) -> Gradient:
    """The loss over all days and its gradient; every device works on its own days.

    The gradient is taken within a device and averaged by hand, hence without check_vma, under which JAX would sum it.
    """

    def mine(battery: Battery, days: Days) -> tuple[jax.Array, Battery]:
        return jax.lax.pmean(jax.value_and_grad(loss)(battery, days), "days")

    return jax.shard_map(mine, mesh=mesh, in_specs=(P(), P("days")), out_specs=P(), check_vma=False)


def observe(layer: CvxpyLayer, count: int, seed: int) -> Days:
    """Prices with two peaks a day, and what the true battery does."""
    rng = np.random.default_rng(seed)
    hours = np.arange(PERIODS) * 2 * np.pi / PERIODS
    shapes = np.stack([np.sin(hours), np.cos(hours), np.sin(2 * hours), np.cos(2 * hours)])
    prices = jnp.asarray(1.0 + rng.standard_normal((count, 4)) @ shapes + 0.3 * rng.standard_normal((count, PERIODS)))
    return Days(prices, layer(prices, *(jnp.exp(value) for value in TRUTH))[0])


def place(days: Days, mesh: Mesh) -> Days:
    """The days of all processes as one array, sharded over the mesh."""
    sharding = NamedSharding(mesh, P("days"))
    return jax.tree.map(lambda mine: jax.make_array_from_process_local_data(sharding, np.asarray(mine)), days)


def train(gradient: Gradient, days: Days, steps: int, rate: float) -> Battery:
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))

    @jax.jit
    def step(battery: Battery, state: optax.OptState, days: Days) -> tuple[Battery, optax.OptState, jax.Array]:
        value, slope = gradient(battery, days)
        updates, state = optimiser.update(slope, state)
        return optax.apply_updates(battery, updates), state, value

    battery, state = GUESS, optimiser.init(GUESS)
    for number in range(1, steps + 1):
        battery, state, value = step(battery, state, days)
        if jax.process_index() == 0 and (number in (1, steps) or number % 10 == 0):
            print(f"step {number}: loss {float(value):.3e}", flush=True)
    return battery


def seconds(function: Gradient, *arguments: Battery | Days, repetitions: int = 3) -> float:
    """The time of a call, once compiled; the least of a few."""
    times = []
    for _ in range(repetitions + 1):
        begin = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def relative_error(ours: object, expected: object) -> float:
    """The largest deviation, relative to the largest number."""
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (ours, expected))
    return float(np.abs(a - b).max() / np.abs(b).max())


def compare(loss: Loss, sharded: Gradient, days: Days, mesh: Mesh) -> None:
    """Loss and gradient of the sharded batch beside those of the same batch on one device, and the times of both."""
    placed = place(days, mesh)
    whole = jax.jit(jax.value_and_grad(loss))
    expected = whole(GUESS, days)
    for name, function, argument in (
        ("one device", whole, days),
        (f"jit, {mesh.size} devices", whole, placed),
        (f"shard_map, {mesh.size} devices", jax.jit(sharded), placed),
    ):
        error = relative_error(function(GUESS, argument), expected)
        assert error < 1e-10, f"{name}: {error:.1e}"
        print(f"{name}: {1000 * seconds(function, GUESS, argument):.0f} ms, relative error {error:.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="An optimization layer in a sharded training step.")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--days", type=int, default=128, help="days of each process")
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--coordinator", help="host:port of process 0, for several processes")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="few days, few steps: does it run?")
    given = parser.parse_args()
    steps, count = (3, 16) if given.quick else (given.steps, given.days)
    if given.coordinator:
        jax.distributed.initialize(given.coordinator, given.processes, given.process)
    mesh = jax.make_mesh((jax.device_count(),), ("days",), axis_types=(AxisType.Auto,))
    layer = make_layer()
    loss, days = make_loss(layer), observe(layer, count, seed=jax.process_index())
    sharded = shard(loss, mesh)
    if jax.process_count() == 1:
        compare(loss, sharded, days, mesh)
    found = train(sharded, place(days, mesh), steps, given.rate)
    if jax.process_index() == 0:
        for name, ours, truth in zip(Battery._fields, found, TRUTH, strict=True):
            print(f"{name}: {float(jnp.exp(ours)):.4f}, in truth {float(jnp.exp(truth)):.4f}")


if __name__ == "__main__":
    main()
