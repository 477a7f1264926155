"""The derivative by the homogeneous self-dual map, and least squares by products: against oracles of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse.linalg as spla
from cone_programs import CONES, Solved, dense_program, random_conic_program
from programs import random_program

from optlayers.cones import Exponential, Product, SecondOrder, Zero
from optlayers.kkt import (
    DerivativeReport,
    HomogeneousDerivative,
    SymmetricSystem,
    differentiate,
    differentiate_homogeneous,
    least_squares,
    linearize,
)
from optlayers.program import ConeProgram

TOLERANCE = 1e-12
"""The relative residual that LSMR is asked for."""

LIMIT = 20_000
"""The iterations that LSMR may take."""

STEP = 1e-5
"""The step of central differences, whose error is about STEP^2 by curvature and 1e-16 / STEP by rounding."""

kinds = pytest.mark.parametrize("kind", ["polyhedral", "second-order", "exponential", "power"])
quadratics = pytest.mark.parametrize("quadratic", [True, False])


def homogeneous(solved: Solved, limit: int = LIMIT) -> HomogeneousDerivative:
    return differentiate_homogeneous(linearize(solved.program, solved.x, solved.v), TOLERANCE, limit)


def tangents(derivative: HomogeneousDerivative, directions: np.ndarray) -> tuple[np.ndarray, DerivativeReport]:
    """(dx, dy) side by side, and the report."""
    dx, dy, report = derivative.jvp(directions)
    return np.concatenate([dx, dy], axis=1), report


def residual_map(program: ConeProgram, z: np.ndarray) -> np.ndarray:
    """R(x, v)."""
    x, v = z[: program.structure.n], z[program.structure.n :]
    y = program.structure.cones.project_dual(np, v)
    return np.concatenate([program.P @ x + program.A.T @ y + program.q, program.A @ x + y - v - program.b])


def central_difference(
    function: Callable[[np.ndarray], np.ndarray], at: np.ndarray, directions: np.ndarray
) -> np.ndarray:
    """The derivative of the function along each direction, by columns."""
    return np.array([(function(at + STEP * d) - function(at - STEP * d)) / (2 * STEP) for d in directions]).T


def difference_tangents(solved: Solved, directions: np.ndarray) -> tuple[np.ndarray, float]:
    """(dx, dy) from central differences of R and of Pi alone, and a bound of their relative error."""
    program, structure = solved.program, solved.program.structure
    z = np.concatenate([solved.x, solved.v])
    jacobian = central_difference(lambda at: residual_map(program, at), z, np.eye(len(z)))
    by_data = central_difference(
        lambda data: residual_map(ConeProgram.from_data(structure, data), z), solved.data, directions
    )
    dz = np.linalg.solve(jacobian, -by_data)

    def solution(at: np.ndarray) -> np.ndarray:
        return np.concatenate([at[: structure.n], structure.cones.project_dual(np, at[structure.n :])])

    error = 10 * (STEP**2 + 1e-16 / STEP) * float(np.linalg.cond(jacobian))
    return (central_difference(solution, z, np.eye(len(z))) @ dz).T, error


@pytest.mark.usefixtures("without_checks")
@kinds
@quadratics
def test_against_central_differences_of_the_residual_map(kind: str, quadratic: bool) -> None:
    solved = random_conic_program(CONES[kind], 1, quadratic=quadratic)
    structure = solved.program.structure
    rng = np.random.default_rng(3)
    directions = rng.standard_normal((2, structure.data_size))
    cotangents = rng.standard_normal((1, structure.n + structure.m))
    expected, error = difference_tangents(solved, directions)
    derivative = homogeneous(solved)
    products, forward = tangents(derivative, directions)
    g_data, reverse = derivative.vjp(cotangents[:, : structure.n], cotangents[:, structure.n :])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(products, expected, rtol=0, atol=error * scale)
    along = products @ cotangents.T
    np.testing.assert_allclose(directions @ g_data.T, along, rtol=0, atol=1e-9 * scale)
    for report in (forward, reverse):
        assert report.residual <= 10 * TOLERANCE
        assert not report.singular
        assert report.weakly_active == 0
        assert 0 < report.iterations <= 20 * (structure.n + structure.m)
        assert report.method == "homogeneous"


@pytest.mark.parametrize("scale", [0.0, 3.0, 6.0])
@pytest.mark.parametrize("seed", range(3))
def test_quadratic_programs_against_the_optimality_conditions(scale: float, seed: int) -> None:
    program = random_program(6, 2, 7, seed=seed, scale=scale)
    solved = Solved(program.program, program.x, program.v)
    n, m = 6, 9
    rng = np.random.default_rng(4)
    directions = rng.standard_normal((3, solved.program.structure.data_size)) * np.abs(solved.data)
    g_x, g_y = rng.standard_normal((2, n)) / np.abs(solved.x), rng.standard_normal((2, m)) / np.abs(solved.v)
    system = SymmetricSystem(solved.program.structure)
    with differentiate(system, linearize(solved.program, solved.x, solved.v)) as derivative:
        expected = np.concatenate(derivative.jvp(directions)[:2], axis=1)
        g_expected = derivative.vjp(g_x, g_y)[0] * np.abs(solved.data)
    products, forward = tangents(homogeneous(solved), directions)
    g_data, reverse = homogeneous(solved).vjp(g_x, g_y)
    sizes = np.concatenate([np.abs(solved.x), np.abs(solved.v)])
    np.testing.assert_allclose(products / sizes, expected / sizes, rtol=0, atol=1e-9 * np.abs(expected / sizes).max())
    np.testing.assert_allclose(g_data * np.abs(solved.data), g_expected, rtol=0, atol=1e-9 * np.abs(g_expected).max())
    assert not forward.singular
    assert not reverse.singular


def ball(c: np.ndarray, q: np.ndarray) -> Solved:
    """min q'x s.t. |x - c| <= 1: x = c - q/|q| with the multiplier (|q|, q)."""
    n, size = len(c), float(np.linalg.norm(q))
    A = np.vstack([np.zeros((1, n)), -np.eye(n)])
    program = dense_program(np.zeros((n, n)), q, A, np.concatenate([[1.0], -c]), Product((SecondOrder(n + 1),)))
    return Solved(program, c - q / size, np.concatenate([[size], q]) - np.concatenate([[1.0], -q / size]))


def test_the_ball_against_central_differences_of_its_solution() -> None:
    rng = np.random.default_rng(0)
    c, q, d_c, d_q = rng.standard_normal((4, 4))

    def solution(t: float) -> np.ndarray:
        moved = q + t * d_q
        return np.concatenate([c + t * d_c - moved / np.linalg.norm(moved), [np.linalg.norm(moved)], moved])

    solved = ball(c, q)
    _, q_part, A_part = solved.program.structure.data_slices
    direction = np.zeros((1, solved.program.structure.data_size))
    direction[0, q_part] = d_q
    direction[0, A_part.stop + 1 :] = -d_c
    products, _ = tangents(homogeneous(solved), direction)
    expected = (solution(STEP) - solution(-STEP)) / (2 * STEP)
    np.testing.assert_allclose(products[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("b", [-3.0, 0.5, 4.0])
def test_the_exponential_function(b: float) -> None:
    """min z s.t. x = b, exp(x) <= z: z = exp(b), with the multipliers -e^b and (-e^b, (b - 1) e^b, 1)."""
    e = np.exp(b)
    A = np.array([[1.0, 0], [-1, 0], [0, 0], [0, -1]])
    cones = Product((Zero(1), Exponential()))
    program = dense_program(np.zeros((2, 2)), np.array([0.0, 1]), A, np.array([b, 0, 1, 0]), cones)
    y, s = np.array([-e, -e, (b - 1) * e, 1]), np.array([0, b, 1, e])
    solved = Solved(program, np.array([b, e]), y - s)
    direction = np.zeros((1, program.structure.data_size))
    direction[0, -4] = 1.0
    products, _ = tangents(homogeneous(solved), direction)
    expected = np.array([1, e, -e, -e, b * e, 0])
    np.testing.assert_allclose(products[0], expected, rtol=0, atol=1e-9 * max(1, e))


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("kind", ["polyhedral", "second-order"])
@pytest.mark.parametrize(
    ("alpha", "beta", "quadratic"), [(1e6, 1.0, True), (1.0, 1e6, False), (1e3, 1e3, True), (1e-6, 1e-3, False)]
)
def test_units_do_not_matter(kind: str, alpha: float, beta: float, quadratic: bool) -> None:
    """(alpha x, beta y) solves the program of (beta/alpha P, beta q, A, alpha b), with the same derivative in these
    units.

    The point v loses digits where y and s differ by 1e6: an error of 1e-16 of its size is one of 1e-10 of the smaller.
    """
    unit = random_conic_program(CONES[kind], 0, quadratic=quadratic)
    program, structure = unit.program, unit.program.structure
    y = structure.cones.project_dual(np, unit.v)
    scales = np.repeat([beta / alpha, beta, 1.0, alpha], [structure.P.size, structure.n, structure.A.size, structure.m])
    moved = Solved(
        ConeProgram.from_data(structure, unit.data * scales), alpha * unit.x, beta * y - alpha * (y - unit.v)
    )
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((1, program.structure.data_size))
    g_x, g_y = rng.standard_normal((1, structure.n)), rng.standard_normal((1, structure.m))
    expected, _ = tangents(homogeneous(unit), directions)
    g_expected, at_unit = homogeneous(unit).vjp(g_x, g_y)
    products, forward = tangents(homogeneous(moved), directions * scales)
    g_data, reverse = homogeneous(moved).vjp(g_x / alpha, g_y / beta)
    products /= np.repeat([alpha, beta], [structure.n, structure.m])
    np.testing.assert_allclose(products, expected, rtol=0, atol=1e-8 * np.abs(expected).max())
    np.testing.assert_allclose(g_data * scales, g_expected, rtol=0, atol=1e-8 * np.abs(g_expected).max())
    for report in (forward, reverse):
        assert not report.singular
        assert report.iterations <= 4 * at_unit.iterations


def test_a_loose_bound_of_any_size_changes_nothing() -> None:
    """Neither the derivative nor the iterations: it enters alpha through no active row."""
    small = random_program(5, 2, 6)
    data = np.concatenate([small.program.P_values, small.program.q, small.program.A_values, small.program.b])
    data[-1] += 1e8
    v = small.v.copy()
    v[-1] -= 1e8
    tight = Solved(small.program, small.x, small.v)
    loose = Solved(ConeProgram.from_data(small.program.structure, data), small.x, v)
    assert small.v[-1] < 0
    g_x, g_y = np.ones((1, 5)), np.zeros((1, 8))
    expected, _ = homogeneous(tight).vjp(g_x, g_y)
    g_data, report = homogeneous(loose).vjp(g_x, g_y)
    np.testing.assert_allclose(g_data, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    assert not report.singular
    assert report.iterations <= 100


def test_a_repeated_constraint() -> None:
    """x = b_1 = b_2: moved together, x follows; moved apart, least squares takes their mean, and says so."""
    program = dense_program(np.eye(1), np.array([1.0]), np.ones((2, 1)), np.array([2.0, 2.0]), Product((Zero(2),)))
    derivative = homogeneous(Solved(program, np.array([2.0]), np.array([-1.0, -2.0])))
    directions = np.zeros((2, program.structure.data_size))
    directions[:, -2:] = [[1.0, 1.0], [1.0, 0.0]]
    dx, _, together = derivative.jvp(directions[:1])
    np.testing.assert_allclose(dx, [[1.0]], atol=1e-9)
    assert not together.singular
    dx, dy, apart = derivative.jvp(directions[1:])
    assert apart.singular
    assert np.isfinite(dx).all()
    assert np.isfinite(dy).all()
    g_data, reverse = derivative.vjp(np.ones((1, 1)), np.zeros((1, 2)))
    assert not reverse.singular
    assert g_data[0, -2:].sum() == pytest.approx(1.0, abs=1e-9)


def test_kinks_are_counted() -> None:
    """min |x|^2 / 2 s.t. x >= 0 in the second-order cone of two rows: at its apex, with no multiplier."""
    program = dense_program(np.eye(2), np.zeros(2), -np.eye(2), np.zeros(2), Product((SecondOrder(2),)))
    derivative = homogeneous(Solved(program, np.zeros(2), np.zeros(2)))
    direction = np.zeros((1, program.structure.data_size))
    direction[0, program.structure.P.size] = 1.0
    dx, dy, report = derivative.jvp(direction)
    np.testing.assert_allclose(dx, [[-1.0, 0.0]], atol=1e-9)  # what is zero counts as slack
    np.testing.assert_allclose(dy, 0, atol=1e-9)
    assert report.weakly_active == 2


def test_iterations_that_do_not_suffice_are_reported() -> None:
    solved = random_conic_program(CONES["second-order"], 0)
    structure = solved.program.structure
    _, report = homogeneous(solved, limit=3).vjp(np.ones((1, structure.n)), np.ones((1, structure.m)))
    assert report.iterations == 3
    assert report.residual > 1e-6
    assert not report.singular


def matrix(rows: int, columns: int, values: np.ndarray, seed: int = 0) -> np.ndarray:
    """A random matrix with the given nonzero singular values."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.standard_normal((rows, len(values))))
    right, _ = np.linalg.qr(rng.standard_normal((columns, len(values))))
    return left * values @ right.T


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e5])
@pytest.mark.parametrize("size", [1.0, 1e-8, 1e8])
def test_least_squares_are_those_of_the_pseudo_inverse(condition: float, size: float) -> None:
    """Of rank 12 in 20 x 18: in the range, outside of it, and zero, side by side."""
    M = size * matrix(20, 18, np.geomspace(1, 1 / condition, 12))
    rng = np.random.default_rng(1)
    right = np.stack([M @ rng.standard_normal(18), size * rng.standard_normal(20), np.zeros(20)], axis=1)
    found = least_squares(spla.aslinearoperator(M), right, TOLERANCE, LIMIT)
    expected = np.linalg.pinv(M, rcond=1e-10) @ right
    # A residual of TOLERANCE becomes an error by the condition, a normal residual by its square.
    errors = np.linalg.norm(found.solution - expected, axis=0)
    sizes = np.linalg.norm(expected, axis=0)
    assert errors[0] <= 10 * TOLERANCE * condition * sizes[0]
    assert errors[1] <= max(10 * TOLERANCE, 1e-15 * condition) * condition * sizes[1]
    assert errors[2] == 0
    np.testing.assert_array_equal(found.singular, [False, True, False])
    assert found.relative_residual[2] == 0


@pytest.mark.parametrize("seed", range(4))
def test_what_is_slow_to_reach_is_not_outside_the_range(seed: int) -> None:
    """One singular value of 1e6 makes M'r, relative to its first value, vanish long before r does."""
    n = 30
    M = matrix(n, n, np.concatenate([[1e6], np.geomspace(3, 1, n - 1)]), seed)
    right = np.random.default_rng(2).standard_normal((n, 1))
    found = least_squares(spla.aslinearoperator(M), right, TOLERANCE, LIMIT)
    assert not found.singular.any()
    left = np.linalg.norm(right - M @ found.solution) / np.linalg.norm(right)
    assert found.relative_residual[0] == pytest.approx(left, rel=1e-6, abs=1e-13)


def test_a_right_hand_side_orthogonal_to_the_range_is_outside_of_it() -> None:
    M = spla.aslinearoperator(np.diag([1.0, 2.0, 0.0]))
    found = least_squares(M, np.array([[0.0], [0.0], [1.0]]), TOLERANCE, LIMIT)
    assert found.singular.all()
    np.testing.assert_array_equal(found.solution, 0)
    np.testing.assert_array_equal(found.relative_residual, 0)


def test_what_is_not_finite_has_no_solution() -> None:
    M = spla.aslinearoperator(np.eye(2))
    found = least_squares(M, np.array([[np.nan, 1.0], [0.0, 2.0]]), TOLERANCE, LIMIT)
    np.testing.assert_allclose(found.solution[:, 1], [1.0, 2.0], rtol=10 * TOLERANCE)
    assert np.isnan(found.relative_residual[0])
    assert not found.singular.any()
