"""Degenerate problems: the documented choice of derivative, never an accident (docs/mathematics.md, "Degeneracy")."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

import optlayers
from optlayers.errors import SingularWarning

SOLVERS = ("OSQP", "SCS", "CLARABEL", None)
solvers = pytest.mark.parametrize("solver", SOLVERS)


@solvers
def test_redundant_equalities_share_the_derivative(solver: str | None) -> None:
    x, c, b = cp.Variable(3), cp.Parameter(3, name="c"), cp.Parameter(2, name="b")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cp.sum(x) == b[0], cp.sum(x) == b[1]])
    compiled = optlayers.compile(problem, [c, b], [x], solver=solver)
    solution = compiled.solve(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0]))
    # b moves the two copies apart, which no solution follows: reported, and the least-squares choice is returned.
    with pytest.warns(SingularWarning, match="multipliers"):
        g_c, g_b = compiled.vjp(solution, np.array([1.0, 0.0, 0.0]))
    # x = c + (b - sum(c)) / 3: the projection on one hyperplane, its offset counted once, half in each copy.
    np.testing.assert_allclose(g_c, [2 / 3, -1 / 3, -1 / 3], atol=1e-12)
    np.testing.assert_allclose(g_b, [1 / 6, 1 / 6], atol=1e-12)


@solvers
def test_redundant_equalities_that_move_together_are_differentiable(solver: str | None) -> None:
    x, b = cp.Variable(3), cp.Parameter(name="b")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x)), [cp.sum(x) == b, 2 * cp.sum(x) == 2 * b])
    compiled = optlayers.compile(problem, [b], [x], solver=solver)
    (g_b,) = compiled.vjp(compiled.solve(np.array(1.0)), np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(g_b, 1 / 3, atol=1e-12)


@solvers
def test_multipliers_that_are_not_unique_are_reported_in_both_modes(solver: str | None) -> None:
    """min (w - mu)^2 / 2 + |w - h| / 10 subject to w >= 0, at h = 0: three constraints meet at w = |w - h| = 0."""
    w, mu, h = cp.Variable(), cp.Parameter(), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.square(w - mu) / 2 + 0.1 * cp.abs(w - h)), [w >= 0])
    compiled = optlayers.compile(problem, [mu, h], [w], solver=solver)
    solution = compiled.solve(np.array(-1.0), np.array(0.0))
    np.testing.assert_allclose(solution.outputs[0], 0.0, atol=1e-12)
    with pytest.warns(SingularWarning):
        g_mu, g_h = compiled.vjp(solution, np.array(1.0))
    assert np.isfinite([g_mu, g_h]).all()
    with pytest.warns(SingularWarning):
        compiled.jvp(solution, np.array(0.0), np.array(1.0))


@solvers
def test_moving_redundant_equalities_apart_is_reported(solver: str | None) -> None:
    x, c, b = cp.Variable(3), cp.Parameter(3, name="c"), cp.Parameter(2, name="b")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cp.sum(x) == b[0], cp.sum(x) == b[1]])
    compiled = optlayers.compile(problem, [c, b], [x], solver=solver)
    solution = compiled.solve(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0]))
    with pytest.warns(SingularWarning, match="not differentiable for 1 of 1"):
        (dx,) = compiled.jvp(solution, np.zeros(3), np.array([1.0, 0.0]))
    # Least squares: both copies move by the mean, 1/2.
    np.testing.assert_allclose(dx, np.full(3, 1 / 6), atol=1e-12)


@solvers
def test_weakly_active_rows_count_as_inactive(solver: str | None) -> None:
    x, c = cp.Variable(3), cp.Parameter(3)
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [x >= 0]), [c], [x], solver=solver)
    solution = compiled.solve(np.array([0.0, 2.0, -3.0]))
    with pytest.warns(SingularWarning, match="1 constraints hold there with a multiplier of zero"):
        (g_c,) = compiled.vjp(solution, np.ones(3))
    np.testing.assert_allclose(g_c, [1.0, 1.0, 0.0], atol=1e-12)


@solvers
def test_no_constraints(solver: str | None) -> None:
    x, P, q = cp.Variable(3), cp.Parameter((3, 3), PSD=True), cp.Parameter(3)
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.quad_form(x, P) / 2 + q @ x)), [P, q], [x], solver=solver)
    assert compiled.solution_map.parametric.structure.m == 0
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 3))
    P_value, q_value, g = root @ root.T + np.eye(3), rng.standard_normal(3), rng.standard_normal(3)
    solution = compiled.solve(P_value, q_value)
    expected = -np.linalg.solve(P_value, q_value)
    np.testing.assert_allclose(solution.outputs[0], expected, rtol=1e-12)
    u = np.linalg.solve(P_value, g)
    g_P, g_q = compiled.vjp(solution, g)
    np.testing.assert_allclose(g_q, -u, rtol=1e-10)
    np.testing.assert_allclose(g_P, -(np.outer(u, expected) + np.outer(expected, u)) / 2, rtol=1e-10, atol=1e-12)


@solvers
def test_no_inequality(solver: str | None) -> None:
    x, b = cp.Variable(4), cp.Parameter(2)
    A = np.array([[1.0, 2.0, 0.0, -1.0], [0.0, 1.0, 1.0, 3.0]])
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(x)), [A @ x == b]), [b], [x], solver=solver)
    solution = compiled.solve(np.array([1.0, -2.0]))
    pseudoinverse = np.linalg.pinv(A)
    np.testing.assert_allclose(solution.outputs[0], pseudoinverse @ [1.0, -2.0], atol=1e-12)
    jacobian = np.array([compiled.vjp(solution, row)[0] for row in np.eye(4)])
    np.testing.assert_allclose(jacobian, pseudoinverse, atol=1e-12)


@solvers
def test_one_variable(solver: str | None) -> None:
    x, a, lower = cp.Variable(), cp.Parameter(), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.square(x - a)), [x >= lower])
    compiled = optlayers.compile(problem, [a, lower], [x], solver=solver)
    solution = compiled.solve(np.array([2.0, 0.0]), np.array(1.0))
    np.testing.assert_allclose(solution.outputs[0], [2.0, 1.0], atol=1e-12)
    g_a, g_lower = compiled.vjp(solution, np.array([1.0, 1.0]))
    np.testing.assert_allclose(g_a, [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(g_lower, 1.0, atol=1e-12)  # shared by the batch: the sum, of which one term is active


@solvers
def test_solutions_that_are_not_unique_have_a_finite_reported_derivative(solver: str | None) -> None:
    x, c = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0])
    compiled = optlayers.compile(problem, [c], [x], solver=solver)
    solution = compiled.solve(np.ones(3))
    assert solution.outputs[0].sum() == pytest.approx(1, abs=1e-12)
    with pytest.warns(SingularWarning):
        (g_c,) = compiled.vjp(solution, np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(g_c, np.zeros(3), atol=1e-8)


@solvers
def test_a_flat_direction_gets_the_minimum_norm_derivative(solver: str | None) -> None:
    x, q = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize((cp.square(x[0]) + cp.square(x[1])) / 2 + q @ x))
    compiled = optlayers.compile(problem, [q], [x], solver=solver)
    solution = compiled.solve(np.array([1.0, 2.0, 0.0]))
    with pytest.warns(SingularWarning):
        (g_q,) = compiled.vjp(solution, np.ones(3))
    np.testing.assert_allclose(g_q, [-1.0, -1.0, 0.0], atol=1e-10)


EVERY_METHOD: tuple[dict[str, str], ...] = (
    *({"backward": name} for name in ("sparse direct", "batched dense", "minimum norm", "lsmr")),
    {"derivative": "hsde"},
)
every_method = pytest.mark.parametrize("options", EVERY_METHOD, ids=str)


@every_method
def test_every_method_warns_in_both_modes_where_two_bounds_meet(options: dict[str, str]) -> None:
    """x = min(a, b): at a = b the least-squares choice is the mean of the two."""
    x, a, b = cp.Variable(), cp.Parameter(), cp.Parameter()
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.square(x) - x), [x <= a, x <= b]), [a, b], [x], **options)
    solution = compiled.solve(np.array(0.3), np.array(0.3))
    with pytest.warns(SingularWarning, match="not differentiable"):
        gradients = compiled.vjp(solution, np.array(1.0))
    np.testing.assert_allclose(gradients, [0.5, 0.5], atol=1e-12)
    with pytest.warns(SingularWarning, match="not differentiable"):
        (dx,) = compiled.jvp(solution, np.array(1.0), np.array(0.0))
    np.testing.assert_allclose(dx, 0.5, atol=1e-12)


@every_method
def test_every_method_takes_the_minimum_norm_where_equalities_are_redundant(options: dict[str, str]) -> None:
    """The projection of c on {A z = b}, A of rank 2 with three rows: z moves by pinv(A) db."""
    A = np.array([[1.0, 1.0], [1.0, -1.0], [2.0, 0.0]])
    z, c, b = cp.Variable(2), cp.Parameter(2), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(z - c)), [A @ z == b])
    compiled = optlayers.compile(problem, [c, b], [z], **options)
    solution = compiled.solve(np.array([1.0, 2.0]), A @ [0.75, 0.25])
    cotangent = np.array([1.0, 0.3])
    with pytest.warns(SingularWarning, match="not differentiable"):
        _, g_b = compiled.vjp(solution, cotangent)
    reference = optlayers.compile(problem, [c, b], [z], backward="sparse direct")
    with pytest.warns(SingularWarning):
        _, expected = reference.vjp(reference.solve(np.array([1.0, 2.0]), A @ [0.75, 0.25]), cotangent)
    np.testing.assert_allclose(g_b, expected, atol=1e-10)
    np.testing.assert_allclose(A.T @ g_b, cotangent, atol=1e-10)


@pytest.mark.usefixtures("without_checks")
@every_method
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_loose_box_makes_nothing_of_a_gradient_ambiguous(options: dict[str, str], seed: int, absolute: bool) -> None:
    """Least squares of condition 1e4 with a box a hundred times away: x = pinv(A) b, and nobody warns."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.standard_normal((12, 6)))
    right, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    sizes = np.geomspace(1, 1e-4, 6)
    A, b_value, g = left * sizes @ right.T, rng.standard_normal(12), rng.standard_normal(6)
    pseudoinverse = right / sizes @ left.T
    limit = 100 * np.abs(pseudoinverse @ b_value).max()
    x, b = cp.Variable(6), cp.Parameter(12)
    box = [cp.abs(x) <= limit] if absolute else [x <= limit, x >= -limit]
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), box), [b], [x], **options)
    (g_b,) = compiled.vjp(compiled.solve(b_value), g)
    expected = pseudoinverse.T @ g
    np.testing.assert_allclose(g_b, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_both_derivations_take_the_same_choice_at_a_kink() -> None:
    z, p = cp.Variable(), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.square(z - p)), [z >= 0])
    for derivative in ("kkt", "hsde"):
        compiled = optlayers.compile(problem, [p], [z], derivative=derivative)
        solution = compiled.solve(np.array(0.0))
        with pytest.warns(SingularWarning):
            (dz,) = compiled.jvp(solution, np.array(1.0))
        with pytest.warns(SingularWarning):
            (g,) = compiled.vjp(solution, np.array(1.0))
        assert dz == pytest.approx(1.0, rel=1e-9)
        assert g == pytest.approx(1.0, rel=1e-9)
