"""How fast the iterations converge, where they stop, and what they say of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pytest
from implicit.front_ends import FrontEnd, numbers, run_without_policy, statuses

from optlayers.errors import ConvergenceError, Status
from optlayers.implicit import (
    LU,
    AbstractLinearSolver,
    Anderson,
    Broyden,
    Equation,
    FixedPointIteration,
    LinearInfo,
    LinearOperator,
    Newton,
    Problem,
    run,
)
from optlayers.implicit.linear import LinearSolution

pytestmark = pytest.mark.usefixtures("unthreaded")


@pytest.mark.parametrize("solver", [Newton(), Broyden(), Anderson()], ids=lambda solver: solver.name)
@pytest.mark.parametrize("slope", [2.0, 10.0])
def test_convergence_without_a_contraction(front: FrontEnd, solver: Any, slope: float) -> None:
    def g(z: Any, slope: Any) -> Any:
        return slope * front.xp.cos(z)

    z0, theta = front.array(np.ones(1)), front.array(np.array(slope))
    z = numbers(front.fixed_point(g, z0, theta, solver=solver))
    np.testing.assert_allclose(z, slope * np.cos(z), atol=1e-9)
    assert slope * np.abs(np.sin(z)) > 1
    with pytest.raises(ConvergenceError, match="stagnated"):
        front.fixed_point(g, z0, theta, solver=FixedPointIteration())


def test_growth_is_reported_as_no_contraction(front: FrontEnd) -> None:
    with pytest.raises(ConvergenceError, match=r"diverged.*\n?.*grew by 3 an iteration: no contraction"):
        front.fixed_point(
            lambda z, t: t * z, front.array(np.ones(2)), front.array(np.array(-3.0)), solver=FixedPointIteration()
        )


@pytest.mark.parametrize("radius", [0.99, 1.5, 3.0, 10.0])
def test_linear_equations_take_as_many_steps_as_theory_says(front: FrontEnd, radius: float) -> None:
    n = 20
    matrix = np.random.default_rng(1).standard_normal((n, n))
    matrix *= radius / np.abs(np.linalg.eigvals(matrix)).max()
    theta = (front.array(matrix), front.array(np.ones(n)))
    expected = np.linalg.solve(np.eye(n) - matrix, np.ones(n))
    tight = {"tolerance": 1e-10}
    for solver, steps in (
        (Anderson(depth=n, **tight), n + 1),
        (Broyden(depth=2 * n, growth=1e7, **tight), 2 * n + 2),
        (Newton(**tight), 1),
    ):
        z, info = front.fixed_point(
            lambda z, t: t[0] @ z + t[1], front.array(np.zeros(n)), theta, solver=solver, return_info=True
        )
        np.testing.assert_allclose(numbers(z), expected, atol=1e-8)
        assert int(info.iterations) <= steps


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Richardson(AbstractLinearSolver):
    """u <- u + (rhs - A u) / bound, for positive definite A below the bound."""

    bound: float
    name = "Richardson"

    def solve(self, operator: LinearOperator, rhs: Any) -> LinearSolution:
        multiply, u = operator.multiply(), 0 * rhs
        for _ in range(200):
            u = u + (rhs - multiply(u)) / self.bound
        residual = operator.xp.amax(operator.xp.abs(rhs - multiply(u)), axis=-1)
        zero = operator.xp.zeros_like(residual, dtype=operator.xp.int32)
        return LinearSolution(u, LinearInfo(zero, residual, zero + 200, 0 * residual))


@pytest.mark.parametrize("linear", [LU(), Richardson(bound=8.0)], ids=lambda linear: linear.name)
def test_newton_converges_quadratically_with_any_linear_solver(front: FrontEnd, linear: Any) -> None:
    errors = []
    for steps in range(1, 6):
        solver = Newton(max_iterations=steps, tolerance=1e-30, linear=linear)
        z, _ = run_without_policy(front, lambda z, t: z**3 + z - t, [1.5], 2.0, solver)
        errors.append(abs(z[0] - 1))
    # The constant is F'' / (2 F') = 3/4 in the limit.
    assert all(new <= 1.0 * old**2 + 1e-15 for old, new in itertools.pairwise(errors))
    assert errors[-1] < 1e-15


def test_statuses_of_newton_leave_other_elements_alone(front: FrontEnd) -> None:
    # A singular derivative at z0; an easy root; none, with a local minimum of |F| at 0.

    def F(z: Any, t: Any) -> Any:
        return z**2 - t[..., None]

    z, info = run_without_policy(front, F, [[0.0], [1.0], [1.7]], [1.0, 2.0, -1.0], Newton())
    assert statuses(info)[:2] == [Status.SINGULAR, Status.SOLVED]
    assert statuses(info)[2] in (Status.STAGNATED, Status.ITERATION_LIMIT)
    np.testing.assert_allclose(z[:2, 0], [0.0, np.sqrt(2)])
    assert np.isfinite(z).all()


def test_the_last_finite_point_is_kept(front: FrontEnd) -> None:

    def F(z: Any, t: Any) -> Any:
        return front.xp.log(z) - t[..., None]

    z, info = run_without_policy(front, F, [[1.0], [1.0]], [-3.0, 0.5], Newton(max_halvings=0))
    assert statuses(info) == [Status.DIVERGED, Status.SOLVED]
    np.testing.assert_allclose(z[:, 0], [1.0, np.exp(0.5)])
    assert float(info.residual[0]) == 3.0
    z, info = run_without_policy(front, F, [[-1.0]], [0.0], Newton())
    assert statuses(info) == [Status.NOT_FINITE]
    assert int(info.iterations[0]) == 0


def test_stagnation_above_the_tolerance_is_found_early(front: FrontEnd) -> None:
    start = front.array(np.array([1.0], dtype=np.float32))
    for solver, most in ((Newton(), 10), (Broyden(), 250), (Anderson(patience=5), 20)):
        problem = Problem(front.framework, Equation("root", lambda z, t: z**3 + z - 3.1), ())
        _, info = run(problem, type(solver)(**{**vars(solver), "tolerance": 1e-30}), start)
        assert statuses(info) == [Status.STAGNATED] or float(info.residual) == 0
        assert int(info.iterations) <= most


@pytest.mark.parametrize("solver", [Broyden(), Anderson()], ids=lambda solver: solver.name)
def test_residuals_do_not_blow_up(front: FrontEnd, solver: Any) -> None:
    """Far more than growth times the smallest residual is never moved to."""
    matrix = 10 * np.random.default_rng(3).standard_normal((8, 8))

    def F(z: Any, t: Any) -> Any:
        return z - front.xp.sin(t @ z) - 1

    _, info = run_without_policy(front, F, np.zeros(8), matrix, type(solver)(max_iterations=100))
    assert np.isfinite(float(info.residual))
    assert statuses(info) != [Status.DIVERGED]
