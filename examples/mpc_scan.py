"""Model predictive control inside `jax.lax.scan`, its cost learned through the closed loop.

    python examples/mpc_scan.py

Two carts of mass one are joined by a spring; a bounded force u acts on the first, and random forces on both. With the
state x of positions and velocities, the controller solves in every period, from the state measured,

    minimise    sum_t  q'x_t^2 + r u_t^2,  t < T,  plus  e'x_T^2
    subject to  x_{t+1} = A x_t + B u_t,   |u_t| <= limit,   |velocities of x_t| <= speed,   x_0 = measured,

and applies u_0. What it is judged by is the mean of |positions|^2 + 0.01 u^2 in the closed loop. With these weights and
a horizon of T = 4 periods it is short-sighted: the second cart is moved by the spring, later than it can see. The
weights q, r, e are learned by gradient descent on the cost of the closed loop, one `lax.scan` over its periods under
`jit`, with a layer in its body (Amos et al., 2018; Agrawal et al., 2020). The controller that sees 20 periods ahead
stands beside the result, on random forces that were not trained with.

In the body of a compiled loop the layer is a call back to Python. What that costs is measured: the time of a period of
the compiled loop beside that of the same solves by `optlayers.compile(...).solve` in a plain loop; likewise with the
gradient, beside the solves and the products with their derivatives that it consists of.

B. Amos, I. Rodriguez, J. Sacks, B. Boots, J. Z. Kolter, Differentiable MPC for end-to-end planning and control, 2018.
A. Agrawal, S. Barratt, S. Boyd, B. Stellato, Learning convex optimization control policies, L4DC 2020.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.linalg

import optlayers
from optlayers.jax import CvxpyLayer

jax.config.update("jax_enable_x64", True)

HORIZON, FAR = 4, 20
PERIOD, STIFFNESS = 0.4, 1.0
LIMIT, SPEED, NOISE = 1.0, 1.5, 0.1
INPUT_COST = 0.01


class Weights(NamedTuple):
    """Logarithms of q, r and e."""

    state: jax.Array
    force: jax.Array
    end: jax.Array


class Control(NamedTuple):
    """The program of the controller, with the parameters (measured, q, r, e) and the variable u_0."""

    problem: cp.Problem
    parameters: list[cp.Parameter]
    variables: list[cp.Variable]


def discretise() -> tuple[np.ndarray, np.ndarray]:
    """A (4, 4) and B (4, 2) of a period of constant forces on the two carts."""
    spring = STIFFNESS * np.array([[-1.0, 1.0], [1.0, -1.0]])
    rates = np.block([[np.zeros((2, 2)), np.eye(2), np.zeros((2, 2))], [spring, np.zeros((2, 2)), np.eye(2)]])
    step = scipy.linalg.expm(PERIOD * np.vstack([rates, np.zeros((2, 6))]))
    return step[:4, :4], step[:4, 4:]


A, B = discretise()
ON_POSITIONS = np.array([1.0, 1.0, 1e-3, 1e-3])
GUESS = Weights(np.log(ON_POSITIONS), np.log(INPUT_COST), np.log(ON_POSITIONS))


def make_control(horizon: int) -> Control:
    x, first = cp.Variable((horizon + 1, 4)), cp.Variable()
    u = cp.Variable(horizon)
    measured, q, r, e = (
        cp.Parameter(4),
        cp.Parameter(4, nonneg=True),
        cp.Parameter(nonneg=True),
        cp.Parameter(4, nonneg=True),
    )
    cost = cp.sum(cp.square(x[:-1]) @ q) + r * cp.sum_squares(u) + cp.square(x[-1]) @ e
    moves = [x[0] == measured, x[1:] == x[:-1] @ A.T + cp.outer(u, B[:, 0]), first == u[0]]
    limits = [u >= -LIMIT, u <= LIMIT, x[1:, 2:] >= -SPEED, x[1:, 2:] <= SPEED]
    return Control(cp.Problem(cp.Minimize(cost), moves + limits), [measured, q, r, e], [first])


Policy = Callable[[Weights, jax.Array], jax.Array]
"""(weights, state (*B, 4)) -> force (*B)"""


def make_policy(control: Control) -> Policy:
    layer = CvxpyLayer(*control)
    return lambda weights, x: layer(x, *(jnp.exp(value) for value in weights))[0]


def make_loop(policy: Policy) -> Callable[[Weights, jax.Array, jax.Array], jax.Array]:
    """(weights, states at first (*B, 4), random forces (periods, *B, 2)) -> the mean cost of a period."""

    def loop(weights: Weights, start: jax.Array, forces: jax.Array) -> jax.Array:
        def period(x: jax.Array, force: jax.Array) -> tuple[jax.Array, jax.Array]:
            u = policy(weights, x)
            x = x @ A.T + (force + jnp.stack([u, jnp.zeros_like(u)], axis=-1)) @ B.T
            return x, jnp.sum(x[..., :2] ** 2, axis=-1) + INPUT_COST * u**2

        return jnp.mean(jax.lax.scan(period, start, forces)[1])

    return loop


def draw_runs(periods: int, runs: int, seed: int) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    start = rng.uniform(-1, 1, (runs, 4)) * [1.0, 1.0, 0.3, 0.3]
    return jnp.asarray(start), jnp.asarray(NOISE * rng.standard_normal((periods, runs, 2)))


def train(policy: Policy, periods: int, runs: int, steps: int, rate: float) -> Weights:
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))
    start, forces = draw_runs(periods, runs, seed=0)
    loop = make_loop(policy)

    @jax.jit
    def step(weights: Weights, state: optax.OptState) -> tuple[Weights, optax.OptState, jax.Array]:
        cost, slope = jax.value_and_grad(loop)(weights, start, forces)
        updates, state = optimiser.update(slope, state)
        return optax.apply_updates(weights, updates), state, cost

    weights, state = GUESS, optimiser.init(GUESS)
    for number in range(1, steps + 1):
        weights, state, cost = step(weights, state)
        if number in (1, steps) or number % 5 == 0:
            print(f"step {number}: cost of the closed loop {float(cost):.4f}", flush=True)
    return weights


# What a period of the loop takes


class Alone(NamedTuple):
    """Seconds of the solves, seconds of the products with their derivatives, and the mean cost of a period."""

    solving: float
    differentiating: float
    cost: float


def loop_alone(compiled: optlayers.CompiledProblem, weights: Weights, start: np.ndarray, forces: np.ndarray) -> Alone:
    """The closed loop in Python, without JAX."""
    x, values, solutions, costs = start, [np.exp(np.asarray(value)) for value in weights], [], []
    begin = time.perf_counter()
    for force in forces:
        solutions.append(compiled.solve(x, *values))
        (u,) = solutions[-1].outputs
        x = x @ A.T + (force + np.stack([u, np.zeros_like(u)], axis=-1)) @ B.T
        costs.append(np.sum(x[..., :2] ** 2, axis=-1) + INPUT_COST * u**2)
    middle = time.perf_counter()
    for solution in solutions:
        compiled.vjp(solution, np.ones(solution.outputs[0].shape))
    return Alone(middle - begin, time.perf_counter() - middle, float(np.mean(costs)))


def seconds(function: Callable[..., object], *arguments: Weights | jax.Array) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - begin


def measure(control: Control, policy: Policy, weights: Weights, periods: int, repetitions: int = 20) -> None:
    """The time of the compiled loop and of its parts, for one run; all take turns, and the least of each counts."""
    start, forces = (array[..., 0, :] for array in draw_runs(periods, 1, seed=2))
    compiled = optlayers.compile(*control)
    loop, no_layer = make_loop(policy), make_loop(lambda weights, x: -x[..., 0] * weights.force)
    functions = [jax.jit(each) for each in (loop, jax.value_and_grad(loop), jax.value_and_grad(no_layer))]
    cost = float(functions[0](weights, start, forces))
    times = []
    for _ in range(repetitions):
        alone = loop_alone(compiled, weights, np.asarray(start), np.asarray(forces))
        compiled_loops = [seconds(function, weights, start, forces) for function in functions]
        times.append([*compiled_loops, alone.solving, alone.solving + alone.differentiating])
    loop_time, gradient, dynamics, solves, derivatives = 1000 / periods * np.min(times[1:], axis=0)
    error = abs(alone.cost / cost - 1)
    print(f"""
Milliseconds a period, the least of {repetitions} runs of {periods} periods; their costs agree to {error:.0e}

                                  a run    a run and its gradient
compiled loop                   {loop_time:7.3f}   {gradient:7.3f}
solves, derivatives in Python   {solves:7.3f}   {derivatives:7.3f}
difference                      {loop_time - solves:7.3f}   {gradient - derivatives:7.3f}
compiled loop without a layer   {"":7}   {dynamics:7.3f}""")


def main() -> None:
    parser = argparse.ArgumentParser(description="Model predictive control with a learned cost.")
    parser.add_argument("--periods", type=int, default=30, help="of the closed loop")
    parser.add_argument("--runs", type=int, default=8, help="closed loops side by side")
    parser.add_argument("--steps", type=int, default=30, help="of gradient descent")
    parser.add_argument("--rate", type=float, default=0.3)
    parser.add_argument("--quick", action="store_true", help="few runs, few steps: does it run?")
    given = parser.parse_args()
    periods, runs, steps = (20, 2, 2) if given.quick else (given.periods, given.runs, given.steps)
    control = make_control(HORIZON)
    policy = make_policy(control)
    weights = train(policy, periods, runs, steps, given.rate)
    for name, value in zip(Weights._fields, weights, strict=True):
        print(f"{name}: {np.array2string(np.exp(value), precision=4)}")
    start, forces = draw_runs(periods, 4 * runs, seed=1)
    for name, chosen, used in (
        (f"horizon {HORIZON}", policy, GUESS),
        (f"horizon {HORIZON}, learned weights", policy, weights),
        (f"horizon {FAR}", make_policy(make_control(FAR)), GUESS),
    ):
        print(f"{name}: {float(jax.jit(make_loop(chosen))(used, start, forces)):.4f} in runs not trained with")
    measure(control, policy, weights, periods)


if __name__ == "__main__":
    main()
