"""Refinement and derivative on curved cones: sparsity, scales and cost."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from cone_programs import CONES, dense_tangents, random_conic_program

from optlayers.cones import Product, SecondOrder, Semidefinite
from optlayers.errors import Status
from optlayers.kkt import Refinement, SymmetricSystem, differentiate, evaluate, linearize, proves_infeasible, refine
from optlayers.program import ConeProgram, Pattern, Point, Structure

kinds = pytest.mark.parametrize("kind", CONES)


def near(cones: Product, x: np.ndarray, v: np.ndarray, noise: float) -> Point:
    """The point (x, v), perturbed by `noise` of its size."""
    rng = np.random.default_rng(1)
    moved = v * (1 + noise * rng.standard_normal(len(v)))
    y = cones.project_dual(np, moved)
    return Point(x * (1 + noise * rng.standard_normal(len(x))), y, y - moved)


@pytest.mark.usefixtures("without_checks")
@kinds
@pytest.mark.parametrize("quadratic", [True, False])
@pytest.mark.parametrize("noise", [1e-6, 1e-2])
@pytest.mark.parametrize("seed", range(3))
def test_refinement_arrives(kind: str, quadratic: bool, noise: float, seed: int) -> None:
    solved = random_conic_program(CONES[kind], seed, quadratic=quadratic)
    system = SymmetricSystem(solved.program.structure)
    refined = refine(system, solved.program, near(CONES[kind], solved.x, solved.v, noise), Refinement())
    assert refined.residual <= 1e-13
    np.testing.assert_allclose(refined.x, solved.x, rtol=0, atol=1e-9)


@kinds
@pytest.mark.parametrize("seed", range(3))
def test_both_modes(kind: str, seed: int) -> None:
    solved = random_conic_program(CONES[kind], seed)
    structure = solved.program.structure
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((3, structure.data_size))
    cotangents = rng.standard_normal((2, structure.n + structure.m))
    with differentiate(SymmetricSystem(structure), linearize(solved.program, solved.x, solved.v)) as derivative:
        dx, dy, forward = derivative.jvp(directions)
        g_data, reverse = derivative.vjp(cotangents[:, : structure.n], cotangents[:, structure.n :])
    tangents = np.concatenate([dx, dy], axis=1)
    expected = dense_tangents(solved, directions)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(tangents, expected, rtol=0, atol=1e-8 * scale)
    np.testing.assert_allclose(directions @ g_data.T, tangents @ cotangents.T, rtol=1e-9, atol=1e-9 * scale)
    for report in (forward, reverse):
        assert report.residual <= 1e-12
        assert not report.singular
        assert report.weakly_active == 0


def ball_program(n: int, c: np.ndarray, q: np.ndarray) -> ConeProgram:
    """min q'x s.t. |x - c| <= 1, whose solution is c - q/|q| with multiplier (|q|, q)."""
    A = sp.vstack([sp.csr_matrix((1, n)), -sp.eye(n)]).tocoo()
    none = np.zeros(0, dtype=np.int32)
    P, _ = Pattern.from_positions((n, n), none, none)
    pattern, places = Pattern.from_positions((n + 1, n), A.row.astype(np.int32), A.col.astype(np.int32))
    values = np.empty(pattern.size)
    values[places] = A.data
    structure = Structure(P, pattern, Product((SecondOrder(n + 1),)))
    return ConeProgram(structure, np.zeros(0), q, values, np.concatenate([[1.0], -c]))


def test_a_large_second_order_cone_stays_sparse() -> None:
    n = 2000
    rng = np.random.default_rng(0)
    c, q, g = rng.standard_normal((3, n))
    program = ball_program(n, c, q)
    unit = q / np.linalg.norm(q)
    system = SymmetricSystem(program.structure)
    assert system.cost.entries <= 10 * n
    assert system.cost.dense_rows == 0
    start = Point(c - unit + 1e-3 * rng.standard_normal(n), np.zeros(n + 1), np.zeros(n + 1))
    refined = refine(system, program, start, Refinement())
    assert refined.residual <= 1e-13
    np.testing.assert_allclose(refined.x, c - unit, atol=1e-13)
    with differentiate(system, linearize(program, refined.x, refined.v)) as derivative:
        g_data, _ = derivative.vjp(g[None], np.zeros((1, n + 1)))
    expected = -(g - unit * (unit @ g)) / np.linalg.norm(q)
    np.testing.assert_allclose(g_data[0, :n], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ratio", [1e-6, 1e6])
def test_multipliers_far_smaller_or_larger_than_slacks(ratio: float) -> None:
    """The eigenvalue of D is ratio / (1 + ratio): its complement to one, or itself, is tiny."""
    rng = np.random.default_rng(0)
    c, q, g = rng.standard_normal((3, 5))
    program = ball_program(5, c, ratio * q)
    unit = q / np.linalg.norm(q)
    y = ratio * np.concatenate([[np.linalg.norm(q)], q])
    v = y - np.concatenate([[1.0], -unit])
    # v holds the smaller of y and s to the rounding of the larger.
    rounding = np.finfo(float).eps * np.abs(v).max() / min(np.abs(y).max(), 1.0)
    assert evaluate(program, c - unit, v).relative <= rounding
    with differentiate(SymmetricSystem(program.structure), linearize(program, c - unit, v)) as derivative:
        g_data, _ = derivative.vjp(g[None], np.zeros((1, 6)))
    expected = -(g - unit * (unit @ g)) / np.linalg.norm(ratio * q)
    np.testing.assert_allclose(g_data[0, :5], expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_an_infeasible_cone_program_is_recognised() -> None:
    # (t, z) = (-1 - x, 3) in the second-order cone and x >= 0: never
    cones = Product((SecondOrder(2), SecondOrder(1)))
    pattern, _ = Pattern.from_positions((3, 1), np.array([0, 2], np.int32), np.zeros(2, np.int32))
    none = np.zeros(0, dtype=np.int32)
    structure = Structure(Pattern.from_positions((1, 1), none, none)[0], pattern, cones)
    program = ConeProgram(structure, np.zeros(0), np.ones(1), np.array([1.0, -1.0]), np.array([-1.0, 3.0, 0.0]))
    zero = Point(np.zeros(1), np.zeros(3), np.zeros(3))
    assert refine(SymmetricSystem(structure), program, zero, Refinement()).claim is Status.INFEASIBLE
    assert proves_infeasible(program, np.array([1.0, 0.0, 1.0]))
    assert not proves_infeasible(program, np.array([1.0, 1.5, 1.0]))


def test_cost_is_known_before_anything_is_computed() -> None:
    order = 60
    cones = Product((Semidefinite(order),))
    n = cones.size
    diagonal = np.arange(n, dtype=np.int32)
    pattern, _ = Pattern.from_positions((n, n), diagonal, diagonal)
    cost = SymmetricSystem(Structure(pattern, pattern, cones)).cost
    assert cost.rows == 2 * n
    assert cost.dense_rows == 2 * n
    assert cost.entries == n + n * n + 2 * n
    assert "3,660 of them dense" in str(cost)
