"""Solvers of linear systems: one contract for all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from implicit.linear_systems import (
    KRYLOV,
    SOLVERS,
    Arrays,
    check_solution,
    each_framework,
    every_solver,
    matrices,
    one_framework,
    solve,
)

from optlayers.implicit import Iterated
from optlayers.implicit.report import DIVERGED, ITERATION_LIMIT, SOLVED


@each_framework
@every_solver
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("further", [(), (2,)])
def test_solution_of_a_batch(arrays: Arrays, name: str, transpose: bool, further: tuple[int, ...]) -> None:
    solver = SOLVERS[name]
    A = matrices(solver)
    rhs = np.random.default_rng(1).standard_normal((*further, 3, 8))
    u, info = solve(arrays, solver, A, rhs, transpose)
    A = np.swapaxes(A, -1, -2) if transpose else A
    check_solution(solver, A, rhs, u)
    assert (info.status == SOLVED).all()
    assert info.status.dtype == info.iterations.dtype == np.int32
    np.testing.assert_allclose(info.residual, np.linalg.norm((A @ u[..., None])[..., 0] - rhs, axis=-1), atol=1e-13)
    if name not in ("LU", "Newton"):
        # Each element has its own number.
        assert (info.iterations[..., 0] < info.iterations[..., 2]).all()


@each_framework
@every_solver
def test_solution_in_single_precision(arrays: Arrays, name: str) -> None:
    solver = SOLVERS[name]
    A = matrices(solver)[:2].astype(np.float32)
    rhs = np.random.default_rng(1).standard_normal((2, 8)).astype(np.float32)
    u, info = solve(arrays, solver, A, rhs)
    assert u.dtype == info.residual.dtype == info.condition.dtype == np.float32
    check_solution(solver, A, rhs, u)
    assert (info.status == SOLVED).all()


@one_framework
@every_solver
def test_one_unknown(arrays: Arrays, name: str) -> None:
    u, info = solve(arrays, SOLVERS[name], np.array([[0.5]]), np.array([3.0]))
    np.testing.assert_allclose(u, [6.0], rtol=1e-9)
    assert info.status == SOLVED


@one_framework
@every_solver
def test_nothing_on_the_right(arrays: Arrays, name: str) -> None:
    """Beside something: the element that has nothing to do must not become NaN while the others go on."""
    solver = SOLVERS[name]
    rhs = np.random.default_rng(1).standard_normal((3, 8))
    rhs[1] = 0
    u, info = solve(arrays, solver, matrices(solver), rhs)
    assert (u[1] == 0).all()
    assert np.isfinite(u).all()
    assert (info.status == SOLVED).all()
    assert info.residual[1] == 0


@each_framework
@every_solver
@pytest.mark.parametrize("further", [(), (2,)])
def test_empty_batch(arrays: Arrays, name: str, further: tuple[int, ...]) -> None:
    u, info = solve(arrays, SOLVERS[name], np.zeros((0, 3, 3)), np.zeros((*further, 0, 3)))
    assert u.shape == (*further, 0, 3)
    assert all(array.shape == (*further, 0) for array in info[:4])


@one_framework
@every_solver
def test_solution_scales_with_the_right_hand_side(arrays: Arrays, name: str) -> None:
    """Squares of such numbers are zero."""
    solver = SOLVERS[name]
    rhs = np.random.default_rng(1).standard_normal((3, 8))
    u, _ = solve(arrays, solver, matrices(solver), rhs)
    small, info = solve(arrays, solver, matrices(solver), 1e-200 * rhs)
    assert (info.status == SOLVED).all()
    np.testing.assert_allclose(small * 1e200, u, atol=1e-8)


@one_framework
@every_solver
@pytest.mark.parametrize("stop", ["absolute", "relative"])
def test_stopping_rules(arrays: Arrays, name: str, stop: str) -> None:
    solver = replace(SOLVERS[name], stop=stop, tolerance=1e-6)
    rhs = 1e-3 * np.random.default_rng(1).standard_normal((3, 8))
    u, info = solve(arrays, solver, matrices(solver), rhs)
    bound = 1e-6 if stop == "absolute" else 1e-6 * np.linalg.norm(u, axis=-1)
    assert (info.status == SOLVED).all()
    assert (info.residual <= bound * (8**0.5 if isinstance(solver, Iterated) else 1)).all()


@one_framework
@pytest.mark.parametrize("name", KRYLOV)
def test_the_limit_is_kept_and_told(arrays: Arrays, name: str) -> None:
    solver = replace(SOLVERS[name], max_iterations=3)
    rhs = np.random.default_rng(1).standard_normal((3, 8))
    u, info = solve(arrays, solver, matrices(solver), rhs)
    assert info.status[2] == ITERATION_LIMIT
    assert info.iterations[2] == 3
    assert np.isfinite(u).all()


@one_framework
@every_solver
def test_a_failure_spoils_no_other_element(arrays: Arrays, name: str) -> None:
    solver = SOLVERS[name]
    A = matrices(solver)
    A[1, 2, 3] = np.nan
    rhs = np.random.default_rng(1).standard_normal((3, 8))
    u, info = solve(arrays, solver, A, rhs)
    check_solution(solver, A[[0, 2]], rhs[[0, 2]], u[[0, 2]])
    assert info.status.tolist() == [SOLVED, DIVERGED, SOLVED]
