"""What solvers of linear systems say of systems that are singular, ill-conditioned or not theirs."""

from __future__ import annotations

import numpy as np
import pytest
from implicit.linear_systems import (
    KRYLOV,
    LEAST_SQUARES,
    SOLVERS,
    Arrays,
    check_solution,
    each_framework,
    matrices,
    one_framework,
    solve,
)

from optlayers.implicit import GMRES, LU, ConjugateGradients, Neumann
from optlayers.implicit.report import DIVERGED, INACCURATE, NUMERICAL_ERROR, SINGULAR, SOLVED


@each_framework
@pytest.mark.parametrize("name", ["LU", "GMRES", *LEAST_SQUARES, "CG"])
def test_singular(arrays: Arrays, name: str) -> None:
    solver = SOLVERS[name]
    A = matrices(solver)
    A[1] = np.diag([0.0, 0, 1, 2, 3, 4, 5, 6])
    rhs = np.random.default_rng(1).standard_normal((3, 8))
    u, info = solve(arrays, solver, A, rhs)
    assert info.status.tolist() == [SOLVED, SINGULAR, SOLVED]
    check_solution(solver, A[[0, 2]], rhs[[0, 2]], u[[0, 2]])
    if name in LEAST_SQUARES:
        np.testing.assert_allclose(u[1], [0, 0, *(rhs[1, 2:] / np.arange(1, 7))], atol=1e-8)
        np.testing.assert_allclose(info.residual[1], np.linalg.norm(rhs[1, :2]), rtol=1e-8)


@one_framework
@pytest.mark.parametrize("name", LEAST_SQUARES)
@pytest.mark.parametrize("further", [(), (2,)])
def test_minimum_norm(arrays: Arrays, name: str, further: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    A = rng.standard_normal((3, 8, 5)) @ rng.standard_normal((3, 5, 8))
    rhs = (A @ rng.standard_normal((*further, 3, 8, 1)))[..., 0]
    u, info = solve(arrays, SOLVERS[name], A, rhs)
    inverse = np.linalg.pinv(A, rcond=1e-10)
    assert (info.status == SOLVED).all()
    error = np.linalg.norm(u - (inverse @ rhs[..., None])[..., 0], axis=-1)
    bound = 1e-10 * np.linalg.norm(rhs, axis=-1) * np.linalg.norm(inverse, ord=2, axis=(-2, -1))
    assert (error <= bound + 1e-12).all()


@one_framework
def test_the_zero_matrix(arrays: Arrays) -> None:
    for name in ("LU", *KRYLOV):
        _, info = solve(arrays, SOLVERS[name], np.zeros((3, 3)), np.ones(3))
        assert info.status == (NUMERICAL_ERROR if name == "BiCGStab" else SINGULAR)


@one_framework
@pytest.mark.parametrize("name", ["LU", "GMRES", "BiCGStab", "CGNR", "LSMR"])
def test_skew_symmetric(arrays: Arrays, name: str) -> None:
    """r'A r = 0 for all r: BiCGStab has no first step."""
    A = np.random.default_rng(3).standard_normal((8, 8))
    A, rhs = A - A.T, np.ones(8)
    u, info = solve(arrays, SOLVERS[name], A, rhs)
    if name == "BiCGStab":
        assert info.status == NUMERICAL_ERROR
        assert info.residual == pytest.approx(8**0.5)
    else:
        assert info.status == SOLVED
        check_solution(SOLVERS[name], A, rhs, u)


@one_framework
@pytest.mark.parametrize("name", ["LU", "LSMR"])
def test_ill_conditioned(arrays: Arrays, name: str) -> None:
    rng = np.random.default_rng(4)
    U, V = (np.linalg.qr(rng.standard_normal((6, 6)))[0] for _ in range(2))
    A = (U * np.logspace(0, -8, 6)) @ V
    u, info = solve(arrays, SOLVERS[name], A, A @ np.ones(6))
    assert info.status == INACCURATE
    assert 1e7 < info.condition < 6 * 1e8
    np.testing.assert_allclose(u, np.ones(6), atol=1e-10 * 1e8)


@one_framework
def test_restarts_that_stall(arrays: Arrays) -> None:
    """On a cyclic shift no space but the whole one brings anything."""
    A, rhs = np.roll(np.eye(8), 1, axis=0), np.eye(8)[0]
    _, info = solve(arrays, GMRES(restart=4), A, rhs)
    assert info.status == NUMERICAL_ERROR
    u, info = solve(arrays, GMRES(restart=8), A, rhs)
    assert info.status == SOLVED
    check_solution(GMRES(), A, rhs, u)


@one_framework
def test_the_estimate_of_the_condition(arrays: Arrays) -> None:
    """From below; in the one-norm, by LU, at most three times too small, and exact for few unknowns."""
    rng = np.random.default_rng(5)
    A = rng.standard_normal((100, 10, 10)) * np.logspace(0, -4, 10)
    _, info = solve(arrays, LU(), A, np.ones((100, 10)))
    ratio = info.condition / np.linalg.cond(A, 1)
    assert ratio.max() < 1 + 1e-6
    assert ratio.min() > 1 / 3
    few = A[:, :8, :8]
    _, info = solve(arrays, LU(), few, np.ones((100, 8)))
    np.testing.assert_allclose(info.condition, np.linalg.cond(few, 1), rtol=1e-9)


@one_framework
def test_conjugate_gradients_at_a_saddle(arrays: Arrays) -> None:
    """Solved where nothing breaks down; where the first direction has no curvature, told."""
    A = np.stack([np.diag([3.0, -1.0, 2.0]), np.diag([1.0, -1.0, 1.0])])
    rhs = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    u, info = solve(arrays, ConjugateGradients(), A, rhs)
    assert info.status.tolist() == [SOLVED, NUMERICAL_ERROR]
    np.testing.assert_allclose(u[0], [1 / 3, -1, 1 / 2], rtol=1e-9)


@one_framework
@pytest.mark.parametrize("terms", [1, 5])
def test_neumann_is_the_truncated_series(arrays: Arrays, terms: int) -> None:
    A = matrices(LU())
    rhs = np.random.default_rng(1).standard_normal((3, 8, 1))
    u, info = solve(arrays, Neumann(terms=terms), A, rhs[..., 0])
    power = [np.linalg.matrix_power(np.eye(8) - A, k) @ rhs for k in range(terms + 1)]
    np.testing.assert_allclose(u, sum(power[:-1])[..., 0], rtol=1e-10)
    np.testing.assert_allclose(info.residual, np.linalg.norm(power[-1], axis=(-2, -1)), rtol=1e-8)
    assert (info.status[1:] == INACCURATE).all()


@one_framework
def test_neumann_diverges(arrays: Arrays) -> None:
    _, info = solve(arrays, Neumann(terms=5), 3 * np.eye(4), np.ones(4))
    assert info.status == DIVERGED
