"""The derivative of the solution by the data, against central differences of exact solutions."""

from __future__ import annotations

import numpy as np
import pytest
from programs import Solved, make_program, random_program

from optlayers.kkt import Refinement, SymmetricSystem, differentiate, linearize, refine
from optlayers.program import ConeProgram, Point

STEP = 1e-6


def data_of(program: ConeProgram) -> np.ndarray:
    return np.concatenate([program.P_values, program.q, program.A_values, program.b])


def solve(program: ConeProgram, near: Solved) -> np.ndarray:
    y = np.where((np.arange(len(near.v)) < 2) | (near.v > 0), near.v, 0.0)
    refined = refine(
        SymmetricSystem(program.structure), program, Point(near.x, y, y - near.v), Refinement(target=1e-16)
    )
    return np.concatenate([refined.x, program.structure.cones.project_dual(np, refined.v)])


@pytest.mark.parametrize("scale", [0.0, 3.0])
def test_jvp_and_vjp_against_central_differences(scale: float) -> None:
    solved = random_program(5, 2, 6, scale=scale)
    program, data = solved.program, data_of(solved.program)
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((4, len(data))) * np.abs(data)
    cotangents = rng.standard_normal((3, 5 + 8)) / np.abs(np.concatenate([solved.x, solved.v]))
    differences = np.array(
        [
            solve(ConeProgram.from_data(program.structure, data + STEP * d), solved)
            - solve(ConeProgram.from_data(program.structure, data - STEP * d), solved)
            for d in directions
        ]
    ) / (2 * STEP)
    with differentiate(SymmetricSystem(program.structure), linearize(program, solved.x, solved.v)) as derivative:
        dx, dy, forward = derivative.jvp(directions)
        g_data, reverse = derivative.vjp(cotangents[:, :5], cotangents[:, 5:])
    products = np.concatenate([dx, dy], axis=1)
    np.testing.assert_allclose(products @ cotangents.T, differences @ cotangents.T, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(directions @ g_data.T, products @ cotangents.T, rtol=1e-10, atol=1e-10)
    for report in (forward, reverse):
        assert report.residual <= 1e-12
        assert not report.singular
        assert report.weakly_active == 0


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6])
def test_ill_conditioned_least_squares(condition: float) -> None:
    """min |Mx - c|^2 / 2 as min |t|^2 / 2, t = Mx - c: the system's condition is the square of M's."""
    rng = np.random.default_rng(0)
    rows, n = 30, 20
    left, _ = np.linalg.qr(rng.standard_normal((rows, n)))
    right, _ = np.linalg.qr(rng.standard_normal((n, n)))
    M = left * np.geomspace(1, 1 / condition, n) @ right.T
    c = M @ rng.standard_normal(n) + 1e-3 * rng.standard_normal(rows)
    P = np.zeros((n + rows, n + rows))
    P[n:, n:] = np.eye(rows)
    program = make_program(P, np.zeros(n + rows), np.hstack([M, -np.eye(rows)]), c, rows)
    zero = Point(np.zeros(n + rows), np.zeros(rows), np.zeros(rows))
    refined = refine(SymmetricSystem(program.structure), program, zero, Refinement())
    g = rng.standard_normal((1, n + rows))
    g[:, n:] = 0
    with differentiate(SymmetricSystem(program.structure), linearize(program, refined.x, refined.v)) as derivative:
        g_data, _ = derivative.vjp(g, np.zeros((1, rows)))
    # x = pinv(M) c, so the cotangent of c is pinv(M)' g; exact by the singular value decomposition.
    expected = left * np.geomspace(1, condition, n) @ right.T @ g[0, :n]
    np.testing.assert_allclose(g_data[0, -rows:], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_weakly_active_rows_are_counted() -> None:
    program = make_program(np.eye(2), np.zeros(2), -np.eye(2), np.array([0.0, 1.0]), 0)
    at = linearize(program, np.zeros(2), np.array([0.0, -1.0]))
    with differentiate(SymmetricSystem(program.structure), at) as derivative:
        dx, _, report = derivative.jvp(-np.eye(len(data_of(program)))[3:5])
    np.testing.assert_allclose(dx, np.eye(2), atol=1e-14)
    assert report.weakly_active == 1
