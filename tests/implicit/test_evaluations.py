"""How often the user's function is evaluated: what a step has met is not evaluated again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from optlayers.implicit import LBFGS, AbstractIteration, Equation, GradientDescent, Info, Newton, Problem, run
from optlayers.implicit.framework import Framework
from optlayers.implicit.iteration import advance, running, start
from optlayers.jax.framework import JAX
from optlayers.torch.framework import TORCH

WEIGHTS = np.linspace(0.5, 20.0, 6)
FAR = np.array([0.1, 1.0, 30.0])
"""How far from the solution the elements of a batch begin: some have converged long before others."""


class Counted:
    """A function of z, and how often it was evaluated; also inside of JAX's compiled loops."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.count = 0

    def __call__(self, z: Any) -> Any:
        if isinstance(z, torch.Tensor):
            self._increment()
        else:
            jax.debug.callback(self._increment)
        return self.function(z)

    def _increment(self) -> None:
        self.count += 1


def minimum(framework: Framework, z: Any) -> tuple[Problem, Counted]:
    """phi = sum_i w_i (sqrt(1 + z_i^2) - 1), strictly convex, and flat far from 0."""
    weights = framework.xp.asarray(WEIGHTS, dtype=z.dtype)
    phi = Counted(lambda z: framework.xp.sum(weights * (framework.xp.sqrt(1 + z * z) - 1), axis=-1))

    def residual(z: Any, theta: Any) -> Any:
        value, pullback = framework.vjp(phi, z)
        return pullback(framework.xp.ones_like(value))

    return Problem(framework, Equation("argmin", residual, lambda z, theta: phi(z)), ()), phi


def zero(framework: Framework) -> tuple[Problem, Counted]:
    """F = arctan(z) + z / 10: from afar, full steps of Newton's method overshoot."""
    F = Counted(lambda z: framework.xp.arctan(z) + z / 10)
    return Problem(framework, Equation("root", lambda z, theta: F(z)), ()), F


def counted(framework: Framework, problem: Problem, F: Counted, solver: AbstractIteration, z: Any) -> tuple[Info, int]:
    """The report of a run, compiled in JAX, and how often the function was evaluated."""
    if framework is TORCH:
        info = run(problem, solver, z)[1]
    else:
        info = jax.block_until_ready(jax.jit(lambda z: run(problem, solver, z))(z))[1]
        jax.effects_barrier()
    return info, F.count


@pytest.fixture(params=[TORCH, JAX], ids=["torch", "jax"])
def framework(request: pytest.FixtureRequest) -> Framework:
    chosen: Framework = request.param
    return chosen


def points(framework: Framework, scales: np.ndarray, n: int) -> Any:
    array = scales[..., None] * np.linspace(0.5, 1.0, n)
    return torch.as_tensor(array) if framework is TORCH else jnp.asarray(array)


@pytest.mark.parametrize("solver", [LBFGS(), GradientDescent()], ids=["lbfgs", "gradient-descent"])
def test_a_descent_evaluates_phi_once_an_iteration_and_for_rejected_lengths(
    framework: Framework, solver: AbstractIteration
) -> None:
    z = points(framework, np.array(0.5), len(WEIGHTS))
    problem, phi = minimum(framework, z)
    info, evaluations = counted(framework, problem, phi, solver, z)
    iterations = int(info.iterations)
    assert bool(info.solved)
    assert iterations > 5
    assert evaluations <= 1.3 * iterations + 2  # at z0, phi and its gradient


@pytest.mark.parametrize("max_halvings", [0, 20])
def test_newton_evaluates_f_once_to_linearise_and_once_at_the_new_point(
    framework: Framework, max_halvings: int
) -> None:
    problem, F = zero(framework)
    info, evaluations = counted(
        framework, problem, F, Newton(max_halvings=max_halvings), points(framework, np.array(0.3), 2)
    )
    assert bool(info.solved)
    assert evaluations == 1 + 2 * int(info.iterations)


def test_newton_for_a_minimum_evaluates_phi_three_times(framework: Framework) -> None:
    z = points(framework, np.array(0.3), len(WEIGHTS))
    problem, phi = minimum(framework, z)
    info, evaluations = counted(framework, problem, phi, Newton(), z)
    assert bool(info.solved)
    assert evaluations == 1 + 3 * int(info.iterations)


def test_elements_that_stand_still_search_no_length(framework: Framework) -> None:
    problem, F = zero(framework)
    info, evaluations = counted(framework, problem, F, Newton(), points(framework, FAR, 1))
    assert bool(info.solved.all())
    assert len(set(np.asarray(info.iterations).tolist())) == len(FAR)
    # The one from afar begins with a few halvings; a search of those at rest would halve to the limit each time.
    assert evaluations <= 1 + 2 * int(info.iterations.max()) + 8


@pytest.mark.parametrize("solver", [LBFGS(), GradientDescent(), Newton()], ids=["lbfgs", "gradient-descent", "newton"])
def test_what_a_step_hands_on_is_the_residual_of_its_point(solver: AbstractIteration) -> None:
    z = points(TORCH, FAR, len(WEIGHTS))
    problem, _ = minimum(TORCH, z)
    at = start(problem, solver, z)
    for _ in range(12):
        at = advance(problem, solver, at, running(at), differentiable=False)
        np.testing.assert_allclose(at.residual, problem.residual(at.z), rtol=0, atol=1e-13 * WEIGHTS.max())


@pytest.mark.parametrize("solver", [LBFGS(), GradientDescent(), Newton()], ids=["lbfgs", "gradient-descent", "newton"])
def test_elements_are_solved_in_a_batch_as_alone(solver: AbstractIteration) -> None:
    z = points(TORCH, FAR, len(WEIGHTS))
    problem, _ = minimum(TORCH, z)
    found, info = run(problem, solver, z)
    for place in range(len(FAR)):
        alone, info_alone = run(problem, solver, z[place])
        np.testing.assert_allclose(found[place], alone, rtol=0, atol=1e-9)
        assert int(info.iterations[place]) == int(info_alone.iterations)
        assert int(info.status[place]) == int(info_alone.status)


def test_a_search_that_fails_hands_on_the_best_point() -> None:
    """A tolerance below the rounding of the gradient: the element ends as stagnated, where it was best."""
    z = points(TORCH, np.array(0.5), len(WEIGHTS))
    problem, _ = minimum(TORCH, z + 0.1)
    shifted = Problem(TORCH, Equation("argmin", lambda z, theta: problem.residual(z - 0.1),
                                          lambda z, theta: problem.objective(z - 0.1)), ())  # fmt: skip
    found, info = run(shifted, LBFGS(tolerance=1e-300, max_iterations=300), z)
    size = np.abs(np.asarray(shifted.residual(found))).max()
    assert float(info.residual) == pytest.approx(size, rel=1e-6, abs=1e-15)
    np.testing.assert_allclose(found, 0.1 + 0 * np.asarray(found), rtol=0, atol=1e-12)
