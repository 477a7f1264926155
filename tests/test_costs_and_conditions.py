"""What a layer costs, and how far its derivatives can be trusted, seen from outside."""

from __future__ import annotations

import warnings
from fractions import Fraction

import cvxpy as cp
import numpy as np
import pytest

import optlayers
from optlayers.errors import AccuracyWarning, CostWarning

METHODS_OF_SOLUTION = ("sparse direct", "batched dense", "minimum norm", "lsmr", "hsde")


def least_squares(condition: float) -> tuple[cp.Problem, tuple[cp.Parameter, cp.Parameter], cp.Variable, np.ndarray]:
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.standard_normal((30, 10)))
    right, _ = np.linalg.qr(rng.standard_normal((10, 10)))
    x, A, b = cp.Variable(10), cp.Parameter((30, 10)), cp.Parameter(30)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)))
    return problem, (A, b), x, left * np.geomspace(1, 1 / condition, 10) @ right.T


def exact_gradients(A: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x = pinv(A) b; with u = (A'A)^-1 g: g_b = A u, g_A = (b - A x) u' - A u x'."""
    U, sizes, V = np.linalg.svd(A, full_matrices=False)
    x = V.T @ ((U.T @ b) / sizes)
    Au, u = U @ ((V @ g) / sizes), V.T @ ((V @ g) / sizes**2)
    return np.outer(b - A @ x, u) - np.outer(Au, x), Au


@pytest.mark.parametrize("condition", [1e2, 1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("backward", ["sparse direct", "batched dense"])
def test_gradients_of_ill_conditioned_least_squares(condition: float, backward: str) -> None:
    problem, parameters, x, A = least_squares(condition)
    rng = np.random.default_rng(1)
    b, g = A @ rng.standard_normal(10) + 0.1 * rng.standard_normal(30), rng.standard_normal(10)
    compiled = optlayers.compile(problem, parameters, [x], backward=backward)
    solution = compiled.solve(A, b)
    for ours, expected in zip(compiled.vjp(solution, g), exact_gradients(A, b, g), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("condition", [1e8, 1e10])
@pytest.mark.parametrize("backward", ["sparse direct", "batched dense"])
def test_past_that_a_warning_says_that_they_are_not_to_be_trusted(condition: float, backward: str) -> None:
    problem, parameters, x, A = least_squares(condition)
    compiled = optlayers.compile(problem, parameters, [x], backward=backward)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solution = compiled.solve(A, np.ones(30))
        _, (report,) = compiled.vjp_and_reports(solution, np.ones(10))
    assert report.error > 0.9  # nothing of such a derivative is right, and the estimate says it
    assert any("not to be trusted" in str(warning.message) for warning in caught)


def exact_gradient(A: np.ndarray, g: np.ndarray) -> np.ndarray:
    """A (A'A)^-1 g in rational arithmetic: the cotangent of b, exact for the entries of A as they are stored."""
    rows = [[Fraction(entry) for entry in row] for row in A.tolist()]
    n = len(rows[0])
    system = [[sum(row[i] * row[j] for row in rows) for j in range(n)] + [Fraction(float(g[i]))] for i in range(n)]
    for pivot in range(n):
        system[pivot] = [entry / system[pivot][pivot] for entry in system[pivot]]
        for other in range(n):
            if other != pivot:
                factor = system[other][pivot]
                system[other] = [
                    entry - factor * of_pivot for entry, of_pivot in zip(system[other], system[pivot], strict=True)
                ]
    u = [row[n] for row in system]
    return np.array([float(sum(entry * part for entry, part in zip(row, u, strict=True))) for row in rows])


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("condition", [1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9])
@pytest.mark.parametrize("method", METHODS_OF_SOLUTION)
def test_no_wrong_gradient_is_silent(method: str, condition: float, seed: int) -> None:
    """Whatever the method: an error above 1e-6 is announced, and estimated to be of its order at least."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.standard_normal((12, 6)))
    right, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    A = left * np.geomspace(1, 1 / condition, 6) @ right.T
    x, b = cp.Variable(6), cp.Parameter(12)
    options = {"derivative": method} if method == "hsde" else {"backward": method}
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b))), [b], [x], **options)
    b_value, g = rng.standard_normal(12), rng.standard_normal(6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solution = compiled.solve(b_value)
        (g_b,), (report,) = compiled.vjp_and_reports(solution, g)
    expected = exact_gradient(A, g)
    error = np.abs(g_b - expected).max() / np.abs(expected).max()
    announced = any("not to be trusted" in str(warning.message) for warning in caught)
    assert announced or error <= 1e-6
    assert report.error >= min(error, 0.9) or error <= 1e-6
    if condition <= 1e4:
        assert error <= 1e-8
        assert not caught


def test_an_estimate_of_the_error_is_in_the_message() -> None:
    problem, parameters, x, A = least_squares(1e8)
    compiled = optlayers.compile(problem, parameters, [x])
    solution = compiled.solve(A, np.ones(30))
    with pytest.warns(AccuracyWarning, match=r"not to be trusted.*relative error is \d"):
        compiled.vjp(solution, np.ones(10))


@pytest.mark.usefixtures("without_checks")
def test_a_large_semidefinite_block_announces_its_cost_and_works() -> None:
    n = 60
    X, C = cp.Variable((n, n), PSD=True), cp.Parameter((n, n), symmetric=True)
    problem = cp.Problem(cp.Maximize(cp.trace(C @ X)), [cp.diag(X) == 1])
    with pytest.warns(CostWarning, match=r"a system of 3,720 rows, 3,660 of them dense: about .* factorization"):
        compiled = optlayers.compile(problem, [C], [X])
    root = np.random.default_rng(0).standard_normal((n, n))
    solution = compiled.solve(root + root.T)
    assert solution.reports[0].residual <= 1e-9
    cotangent = np.random.default_rng(1).standard_normal((n, n))
    (g_C,) = compiled.vjp(solution, cotangent)
    direction = np.random.default_rng(2).standard_normal((n, n))
    direction += direction.T
    (dX,) = compiled.jvp(solution, direction)
    assert np.vdot(dX, cotangent) == pytest.approx(np.vdot(g_C, direction), rel=1e-9)
    # Along the solution's own manifold the diagonal does not move.
    np.testing.assert_allclose(np.diag(dX), 0, atol=1e-12 * np.abs(dX).max())


def test_a_cost_is_announced_whatever_stands_around_the_block() -> None:
    """A sum of squares adds as many sparse rows; the semidefinite block is dense among them all the same."""
    n = 60
    X, C = cp.Variable((n, n), PSD=True), cp.Parameter((n, n), symmetric=True)
    with pytest.warns(CostWarning, match="3,660 of them dense"):
        optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(X - C)), [cp.diag(X) == 1]), [C], [X])


def test_a_large_sparse_problem_has_nothing_to_announce() -> None:
    x, c = cp.Variable(2000), cp.Parameter(2000)
    compiled = optlayers.compile(cp.Problem(cp.Minimize(c @ x), [cp.norm(x) <= 1]), [c], [x])
    assert compiled.cost.seconds < 1e-3
