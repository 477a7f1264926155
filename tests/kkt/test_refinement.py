"""Refinement: from any point to the solution."""

from __future__ import annotations

import numpy as np
import pytest
from programs import make_program, random_program

from optlayers.errors import Status
from optlayers.kkt import Refinement, SymmetricSystem, evaluate, proves_infeasible, proves_unbounded, refine
from optlayers.program import Point


def point_at(v: np.ndarray, x: np.ndarray, equalities: int) -> Point:
    y = np.where((np.arange(len(v)) < equalities) | (v > 0), v, 0.0)
    return Point(x, y, y - v)


def test_the_residual_vanishes_at_the_solution_and_nowhere_else() -> None:
    solved = random_program(6, 2, 8)
    assert evaluate(solved.program, solved.x, solved.v).relative <= 1e-15
    assert evaluate(solved.program, solved.x + 1e-3, solved.v).relative > 1e-5
    assert evaluate(solved.program, solved.x * np.nan, solved.v).relative == np.inf


@pytest.mark.parametrize("factor", [1e-150, 1e-9, 1e9, 1e150])
def test_the_relative_residual_does_not_depend_on_units(factor: float) -> None:
    solved = random_program(6, 2, 8)
    P, A = solved.program.P.toarray(), solved.program.A.toarray()
    wrong = solved.x * (1 + 1e-3)
    scaled = make_program(P, solved.program.q * factor, A, solved.program.b * factor, 2)
    expected = evaluate(solved.program, wrong, solved.v).relative
    assert evaluate(scaled, wrong * factor, solved.v * factor).relative == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [0.0, 4.0, 8.0])
@pytest.mark.parametrize("noise", [1e-6, 1e-2, 1.0])
def test_refinement_arrives_from_far(noise: float, scale: float) -> None:
    solved = random_program(12, 3, 16, scale=scale)
    rng = np.random.default_rng(1)
    x = solved.x * (1 + noise * rng.standard_normal(solved.x.shape))
    v = solved.v * (1 + noise * rng.standard_normal(solved.v.shape))
    refined = refine(SymmetricSystem(solved.program.structure), solved.program, point_at(v, x, 3), Refinement())
    assert refined.residual <= 1e-13
    np.testing.assert_allclose(refined.x, solved.x, rtol=1e-9)
    np.testing.assert_allclose(refined.v, solved.v, rtol=1e-9)
    assert refined.claim is None


def test_refinement_arrives_from_zero_without_a_solver() -> None:
    for seed in range(10):
        solved = random_program(20, 3, 30, seed)
        zero = Point(np.zeros(20), np.zeros(33), np.zeros(33))
        refined = refine(SymmetricSystem(solved.program.structure), solved.program, zero, Refinement())
        np.testing.assert_allclose(refined.x, solved.x, rtol=1e-8, atol=1e-10)


def test_refinement_never_makes_a_point_worse() -> None:
    solved = random_program(6, 2, 8)
    start = point_at(solved.v, solved.x, 2)
    refined = refine(
        SymmetricSystem(solved.program.structure),
        solved.program,
        start,
        Refinement(newton_limit=0, proximal_limit=0, polish_limit=0),
    )
    assert refined.residual <= evaluate(solved.program, solved.x, solved.v).relative + 1e-15


def test_an_infeasible_program_is_recognised_by_the_drift_of_the_iterates() -> None:
    # x1 >= 1 and x1 <= 0
    program = make_program(np.eye(2), np.zeros(2), np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([-1.0, 0.0]), 0)
    zero = Point(np.zeros(2), np.zeros(2), np.zeros(2))
    refined = refine(SymmetricSystem(program.structure), program, zero, Refinement())
    assert refined.claim is Status.INFEASIBLE
    assert proves_infeasible(program, np.array([1.0, 1.0]))
    assert not proves_infeasible(program, np.array([1.0, 0.9]))
    assert not proves_infeasible(program, np.array([-1.0, -1.0]))
    assert not proves_infeasible(program, np.zeros(2))
    assert not proves_infeasible(program, np.array([np.nan, 1.0]))


def test_an_unbounded_program_is_recognised_by_the_drift_of_the_iterates() -> None:
    program = make_program(np.diag([1.0, 0.0]), np.array([0.0, -1.0]), np.array([[0.0, -1.0]]), np.zeros(1), 0)
    zero = Point(np.zeros(2), np.zeros(1), np.zeros(1))
    refined = refine(SymmetricSystem(program.structure), program, zero, Refinement())
    assert refined.claim is Status.UNBOUNDED
    assert proves_unbounded(program, np.array([0.0, 1.0]))
    assert not proves_unbounded(program, np.array([0.1, 1.0]))
    assert not proves_unbounded(program, np.array([0.0, -1.0]))
