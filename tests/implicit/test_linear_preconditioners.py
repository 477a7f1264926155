"""Preconditioners of linear systems."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from implicit.linear_systems import (
    KRYLOV,
    SOLVERS,
    Arrays,
    check_solution,
    each_framework,
    matrices,
    one_framework,
    solve,
)

from optlayers.implicit import GMRES, DenseInverse, LinearInfo, Preconditioner
from optlayers.implicit.report import SOLVED


@one_framework
@pytest.mark.parametrize("name", [*KRYLOV, "Neumann", "fixed point"])
@pytest.mark.parametrize("transpose", [False, True])
def test_a_preconditioner_reduces_iterations(arrays: Arrays, name: str, transpose: bool) -> None:
    """The matrix of a neighbour. For the transpose it must be transposed itself: far from symmetric, else it hurts."""
    solver = SOLVERS[name]
    rng = np.random.default_rng(6)
    A = matrices(solver, 12)
    nearby = A + 1e-3 * (0 if solver.symmetric_only else rng.standard_normal(A.shape)) + 1e-3 * np.eye(12)
    rhs = rng.standard_normal((2, 3, 12))
    _, plain = solve(arrays, solver, A, rhs, transpose)
    inverse = np.linalg.inv(nearby)
    dense = DenseInverse.of(arrays.framework.xp, arrays.array(nearby))
    given = arrays.array(inverse), arrays.array(np.swapaxes(inverse, -1, -2).copy())
    function = Preconditioner(lambda r, transpose: (given[transpose] @ r[..., None])[..., 0])
    for preconditioner in (dense, function):
        preconditioned = replace(solver, preconditioner=preconditioner)
        u, info = solve(arrays, preconditioned, A, rhs, transpose)
        assert (info.status == SOLVED).all()
        assert (1.5 * info.iterations[..., 1:] < plain.iterations[..., 1:]).all()
        check_solution(solver, np.swapaxes(A, -1, -2) if transpose else A, rhs, u)


@each_framework
def test_the_preconditioner_of_a_gradient_is_transposed(arrays: Arrays) -> None:
    """With the inverse of J_z itself, far from symmetric, GMRES takes one iteration for J_z' u = g."""
    rng = np.random.default_rng(9)
    matrix, b = arrays.array(rng.standard_normal((12, 12)) + 2 * np.eye(12)), arrays.array(rng.standard_normal(12))
    inverse = DenseInverse.of(arrays.framework.xp, matrix)
    seen: list[LinearInfo] = []

    def z(b: Any) -> Any:
        return arrays.root(
            lambda z, b: matrix @ z - b, 0 * b, b, backward=GMRES(preconditioner=inverse), monitor=seen.append
        )

    g = np.asarray(arrays.grad(lambda b: z(b).sum())(b))
    np.testing.assert_allclose(g, np.linalg.solve(np.asarray(matrix).T, np.ones(12)), rtol=1e-9)
    assert [int(info.iterations) for info in seen] == [1]
