"""Problems without a solution: an error that names the batch index and the status, by every solver alike."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

import optlayers
from optlayers.errors import SolveError, Status

solvers = pytest.mark.parametrize("solver", ["OSQP", "SCS", "CLARABEL", None])


def box_on_simplex(solver: str | None) -> optlayers.CompiledProblem:
    """min |x - c|^2 subject to sum(x) = 1, x >= lower: infeasible if and only if sum(lower) > 1."""
    x, c, lower = cp.Variable(3), cp.Parameter(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cp.sum(x) == 1, x >= lower])
    return optlayers.compile(problem, [c, lower], [x], solver=solver)


@solvers
def test_infeasible_elements_are_named(solver: str | None) -> None:
    compiled = box_on_simplex(solver)
    lower = np.zeros((2, 3, 3))
    lower[0, 2] = lower[1, 1] = 0.5
    with pytest.raises(SolveError, match=r"batch index \(0, 2\): infeasible") as caught:
        compiled.solve(np.ones(3), lower)
    assert [failure.batch_index for failure in caught.value.failures] == [(0, 2), (1, 1)]
    assert {failure.status for failure in caught.value.failures} == {Status.INFEASIBLE}


@pytest.mark.usefixtures("without_checks")
@solvers
@pytest.mark.parametrize("excess", [1e-2, 1e-4, 1e-6, 1e-8])
def test_barely_infeasible_is_infeasible(solver: str | None, excess: float) -> None:
    with pytest.raises(SolveError, match="infeasible"):
        box_on_simplex(solver).solve(np.ones(3), np.full(3, (1 + excess) / 3))


@solvers
@pytest.mark.parametrize("slack", [0.0, 1e-8, 1e-4])
def test_barely_feasible_is_solved(solver: str | None, slack: float) -> None:
    (report,) = box_on_simplex(solver).solve(np.array([1.0, 2.0, 3.0]), np.full(3, (1 - slack) / 3)).reports
    assert report.status is Status.SOLVED
    assert report.residual <= 1e-9


@solvers
def test_unbounded_elements_are_named(solver: str | None) -> None:
    x, c = cp.Variable(3), cp.Parameter(3)
    compiled = optlayers.compile(cp.Problem(cp.Minimize(c @ x), [x >= 0]), [c], [x], solver=solver)
    with pytest.raises(SolveError, match=r"batch index \(1,\): unbounded"):
        compiled.solve(np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]]))


@solvers
def test_an_unbounded_problem_without_constraints(solver: str | None) -> None:
    x, q = cp.Variable(2), cp.Parameter(2)
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.square(x[0]) + q @ x)), [q], [x], solver=solver)
    with pytest.raises(SolveError, match="unbounded"):
        compiled.solve(np.array([0.0, 1.0]))
    assert compiled.solve(np.array([2.0, 0.0])).outputs[0][0] == pytest.approx(-1)


@solvers
@pytest.mark.parametrize("bound", [1e6, 1e9, 1e12])
def test_a_loose_bound_excuses_no_other_constraint(solver: str | None, bound: float) -> None:
    x, a = cp.Variable(2), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x)), [cp.sum(x) == 0, cp.sum(x) == a, x <= bound])
    with pytest.raises(SolveError, match="infeasible"):
        optlayers.compile(problem, [a], [x], solver=solver).solve(np.array(1.0))


@solvers
@pytest.mark.parametrize("condition", [1e3, 1e5, 1e6])
def test_ill_conditioned_least_squares_is_exact(solver: str | None, condition: float) -> None:
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.standard_normal((30, 10)))
    right, _ = np.linalg.qr(rng.standard_normal((10, 10)))
    A = left * np.geomspace(1, 1 / condition, 10) @ right.T
    b_value = A @ rng.standard_normal(10) + 1e-2 * rng.standard_normal(30)
    x, b = cp.Variable(10), cp.Parameter(30)
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b))), [b], [x], solver=solver)
    solution = compiled.solve(b_value)
    pseudoinverse = right * np.geomspace(1, condition, 10) @ left.T
    expected = pseudoinverse @ b_value
    np.testing.assert_allclose(solution.outputs[0], expected, rtol=0, atol=1e-7 * np.abs(expected).max())
    g = rng.standard_normal(10)
    expected = pseudoinverse.T @ g
    np.testing.assert_allclose(compiled.vjp(solution, g)[0], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@solvers
def test_a_nearly_singular_equality_is_solved(solver: str | None) -> None:
    A = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-5]])
    x, b = cp.Variable(2), cp.Parameter(2)
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(x)), [A @ x == b]), [b], [x], solver=solver)
    np.testing.assert_allclose(compiled.solve(np.array([0.0, 1.0])).outputs[0], [-1e5, 1e5], rtol=1e-9)


def test_nan_passes_through_derivatives() -> None:
    compiled = box_on_simplex("CLARABEL")
    solution = compiled.solve(np.array([1.0, 2.5, 3.0]), np.zeros((2, 3)))
    g_c, g_lower = compiled.vjp(solution, np.array([[1.0, 0.0, 0.0], [np.nan, 0.0, 0.0]]))
    assert np.isnan(g_c).all()
    assert np.isfinite(g_lower[0]).all()
    assert np.isnan(g_lower[1]).any()  # rows that are not active get zero
    (dx,) = compiled.jvp(solution, np.full(3, np.nan), np.zeros(3))
    assert np.isnan(dx).all()


@solvers
def test_a_false_claim_of_the_solver_is_not_believed(solver: str | None) -> None:
    # Badly scaled but solvable: at their default tolerances first-order solvers take such problems for unbounded.
    x, q = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(1e-7 * cp.sum_squares(x) + q @ x), [x <= 1e9])
    compiled = optlayers.compile(problem, [q], [x], solver=solver)
    solution = compiled.solve(np.array([1.0, -1.0]))
    np.testing.assert_allclose(solution.outputs[0], [-5e6, 5e6], rtol=1e-9)
