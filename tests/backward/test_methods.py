"""Every backward method on every kind of cone, against the dense derivative of the residual map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cone_programs import CONES, Solved, dense_program, dense_tangents, random_conic_program

from optlayers.backward import (
    LSMR,
    METHODS,
    AbstractBackward,
    Homogeneous,
    Points,
    Smoothed,
    SparseDirect,
    choose_backward,
)
from optlayers.cones import Nonnegative, Product, Zero
from optlayers.errors import OptionError
from optlayers.kkt import Cost, SymmetricSystem

EXACT: list[AbstractBackward] = [method() for method in METHODS.values() if method is not Smoothed] + [Homogeneous()]

methods = pytest.mark.parametrize("method", EXACT, ids=lambda method: method.name)
kinds = pytest.mark.parametrize("kind", CONES)


def points(*solved: Solved) -> Points:
    return Points(
        solved[0].program.structure,
        np.array([each.data for each in solved]),
        np.array([each.x for each in solved]),
        np.array([each.v for each in solved]),
    )


SMALL = [
    (method, kind)
    for method in EXACT
    for kind in CONES
    if kind == "power" or not isinstance(method, LSMR | Homogeneous)
]
"""Iterative methods take thousands of products: the families of conic problems cover them."""


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize(("method", "kind"), SMALL, ids=[f"{method.name}-{kind}" for method, kind in SMALL])
@pytest.mark.parametrize("quadratic", [True, False])
def test_products(method: AbstractBackward, kind: str, quadratic: bool) -> None:
    batch = [random_conic_program(CONES[kind], 0, quadratic=quadratic)] * 2
    structure = batch[0].program.structure
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((2, 2, structure.data_size))
    cotangents = rng.standard_normal((2, 1, structure.n + structure.m))
    system = SymmetricSystem(structure)
    forward = method.multiply(system, points(*batch), directions, False, 1)
    reverse = method.multiply(system, points(*batch), cotangents, True, 2)
    for place, solved in enumerate(batch):
        expected = dense_tangents(solved, directions[place])
        scale = np.abs(expected).max()
        np.testing.assert_allclose(forward[place].values, expected, rtol=0, atol=1e-7 * scale)
        np.testing.assert_allclose(
            directions[place] @ reverse[place].values.T, expected @ cotangents[place].T, rtol=1e-6, atol=1e-6 * scale
        )
    for result in (*forward, *reverse):
        assert not result.report.singular
        assert result.report.residual <= 1e-9
        assert 0 <= result.report.iterations <= method.max_iterations
        assert result.report.method == method.name


def linear_program() -> Solved:
    """min c'x on the simplex, at its vertex."""
    c = np.array([0.3, -0.2, 0.5, 0.1])
    A = np.vstack([np.ones((1, 4)), -np.eye(4)])
    program = dense_program(np.zeros((4, 4)), c, A, np.array([1.0, 0, 0, 0, 0]), Product((Zero(1), Nonnegative(4))))
    return Solved(program, np.array([0.0, 1, 0, 0]), np.array([0.2, 0.5, -1.0, 0.7, 0.3]))


def flat_program() -> Solved:
    """min (x_1^2 + x_2^2)/2 + q'x without a cost on x_3: the solution is free in that direction."""
    program = dense_program(np.diag([1.0, 1, 0]), np.array([1.0, 2, 0]), np.zeros((0, 3)), np.zeros(0), Product(()))
    return Solved(program, np.array([-1.0, -2, 0]), np.zeros(0))


@methods
def test_least_squares_of_minimum_norm_at_a_degenerate_point(method: AbstractBackward) -> None:
    """A cotangent along the free direction has no answer; the rest gets its own, and the report says so."""
    solved = flat_program()
    structure = solved.program.structure
    (result,) = method.multiply(SymmetricSystem(structure), points(solved), np.ones((1, 1, 3)), True, 1)
    g_q = result.values[0, structure.P.size : structure.P.size + 3]
    if not isinstance(method, Homogeneous):  # its third equation sees the free direction, and spreads the rest
        np.testing.assert_allclose(g_q, [-1.0, -1.0, 0.0], atol=1e-9)
    assert np.isfinite(result.values).all()
    assert result.report.singular


def test_the_smoothed_map_is_informative_at_a_vertex() -> None:
    """At a vertex x does not move with c; on the central path it moves away from what becomes dearer."""
    solved = linear_program()
    structure = solved.program.structure
    system = SymmetricSystem(structure)
    direction = np.zeros((1, 1, structure.data_size))
    direction[0, 0, structure.P.size + 1] = 1.0  # the cost of the variable that is chosen
    (exact,) = SparseDirect().multiply(system, points(solved), direction, False, 1)
    np.testing.assert_allclose(exact.values[0, :4], 0, atol=1e-12)
    (smoothed,) = Smoothed(mu=0.05).multiply(system, points(solved), direction, False, 1)
    assert smoothed.values[0, 1] < -1e-2
    assert smoothed.values[0, :4].sum() == pytest.approx(0, abs=1e-9)
    assert smoothed.report.residual <= 1e-9
    assert smoothed.report.method == "smoothed"
    assert smoothed.report.iterations > 0


def test_the_smoothed_map_is_the_derivative_of_the_central_point() -> None:
    """For min c x subject to x >= b with multiplier y: y = c and y (x - b) = mu, so x = b + mu / c."""
    c, b, mu = 2.0, 0.5, 0.01
    program = dense_program(
        np.zeros((1, 1)), np.array([c]), -np.ones((1, 1)), np.array([-b]), Product((Nonnegative(1),))
    )
    solved = Solved(program, np.array([b]), np.array([c]))
    structure = program.structure
    direction = np.zeros((1, 1, structure.data_size))
    direction[0, 0, structure.P.size] = 1.0
    (result,) = Smoothed(mu=mu).multiply(SymmetricSystem(structure), points(solved), direction, False, 1)
    np.testing.assert_allclose(result.values[0], [-mu / c**2, 1.0], rtol=1e-8)


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("kind", ["polyhedral", "second-order", "semidefinite", "exponential"])
def test_the_smoothed_map_tends_to_the_solution_s(kind: str) -> None:
    """The error falls in proportion to mu, where the solution is regular."""
    solved = random_conic_program(CONES[kind], 0)
    structure = solved.program.structure
    cotangents = np.random.default_rng(1).standard_normal((1, 1, structure.n + structure.m))
    system = SymmetricSystem(structure)
    (exact,) = SparseDirect().multiply(system, points(solved), cotangents, True, 1)
    errors = []
    for mu in (1e-5, 1e-6):
        (result,) = Smoothed(mu=mu).multiply(system, points(solved), cotangents, True, 1)
        assert result.report.residual <= 1e-9
        errors.append(np.abs(result.values - exact.values).max() / np.abs(exact.values).max())
    assert errors[1] <= 0.2 * errors[0]


def test_iterations_that_do_not_suffice_are_reported() -> None:
    solved = random_conic_program(CONES["second-order"], 0)
    structure = solved.program.structure
    cotangents = np.ones((1, 1, structure.n + structure.m))
    for method in (LSMR(max_iterations=3), Homogeneous(max_iterations=3), Smoothed(mu=1e-6, max_iterations=2)):
        (result,) = method.multiply(SymmetricSystem(structure), points(solved), cotangents, True, 1)
        assert result.report.residual > 1e-6
        assert not result.report.singular


def test_preconditioning_by_columns_saves_iterations() -> None:
    solved = random_conic_program(CONES["polyhedral"], 0)
    program, columns = solved.program, np.geomspace(1, 1e3, solved.program.structure.n)
    scaled = dense_program(
        program.P.toarray() * np.outer(columns, columns),
        program.q * columns,
        program.A.toarray() * columns,
        program.b,
        program.structure.cones,
    )
    moved = Solved(scaled, solved.x / columns, solved.v)
    cotangents = np.ones((1, 1, program.structure.n + program.structure.m))
    taken = [
        LSMR(preconditioner=name)
        .multiply(SymmetricSystem(scaled.structure), points(moved), cotangents, True, 1)[0]
        .report.iterations
        for name in ("columns", "none")
    ]
    assert taken[0] <= taken[1]


def test_methods_are_chosen_by_name_by_object_or_by_size() -> None:
    small, large = Cost(100, 500, 0), Cost(40_000, 800_000_000, 40_000)
    assert choose_backward(small, None, "kkt") == SparseDirect()
    assert choose_backward(large, None, "kkt") == LSMR()
    assert choose_backward(small, "batched_dense", "kkt") == METHODS["batched dense"]()
    assert choose_backward(small, Smoothed(mu=0.1), "kkt") == Smoothed(mu=0.1)
    assert choose_backward(small, None, "hsde") == Homogeneous()
    assert choose_backward(small, LSMR(tolerance=1e-6), "hsde") == Homogeneous(tolerance=1e-6)
    for arguments, message in (
        ((small, "magic", "kkt"), "there is no backward method 'magic'"),
        ((small, None, "magic"), "derivative must be one of kkt, hsde"),
        ((small, LSMR(preconditioner="none"), "hsde"), "scales its equations itself"),
        ((small, "smoothed", "hsde"), "its method is LSMR, not smoothed"),
    ):
        with pytest.raises(OptionError, match=message):
            choose_backward(*arguments)
    wrong: list[tuple[type[AbstractBackward], dict[str, Any]]] = [
        (LSMR, {"tolerance": 0.0}),
        (LSMR, {"max_iterations": 0}),
        (Smoothed, {"mu": -1.0}),
    ]
    for method, options in wrong:
        with pytest.raises(OptionError, match="must be"):
            method(**options)
    with pytest.raises(OptionError, match="preconditioner must be one of columns, none"):
        LSMR(preconditioner="rows")


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("mu", [1e-10, 1e-14])
def test_a_smoothing_that_rounding_drowns_is_reported(mu: float) -> None:
    """The barrier of an exponential cone loses eps |v|^2 / mu: 2e-6 and more, and nothing silent."""
    solved = random_conic_program(CONES["exponential"], 0)
    structure = solved.program.structure
    cotangents = np.ones((1, 1, structure.n + structure.m))
    (result,) = Smoothed(mu=mu).multiply(SymmetricSystem(structure), points(solved), cotangents, True, 1)
    assert result.report.error > 1e-6
