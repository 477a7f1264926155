"""Every cone through every solver that takes it: solutions, certificates, starts, and what is refused."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from cone_programs import dense_program
from known_programs import (
    PRODUCTS,
    farthest_outside,
    infeasible,
    matrix,
    outside,
    outside_dual,
    pairs,
    solved,
    unbounded,
    vectorise,
)

from optlayers import OSQP, SCS, Clarabel
from optlayers.cones import (
    AbstractCone,
    Dual,
    Exponential,
    Nonnegative,
    Power,
    Product,
    SecondOrder,
    Semidefinite,
    Zero,
)
from optlayers.errors import OptionError, Status
from optlayers.program import ConeProgram, Pattern, Point, Structure
from optlayers.solvers import AbstractSolver, choose
from optlayers.solvers.plain_cone import plain
from optlayers.solvers.scs_form import scs_form

SOLVERS = (Clarabel(1e-8), SCS(1e-9, max_iterations=200_000))
"""Clarabel at its default: on power cones of three and more exponents it reaches 4e-9 and no better."""

TAKEN = [
    pytest.param(solver, kind, id=f"{solver.name}-{kind}")
    for solver in SOLVERS
    for kind, cones in PRODUCTS.items()
    if all(solver.refuses(cone) is None for cone in cones.factors)
]


def residuals(program: ConeProgram, point: Point) -> tuple[float, float, float]:
    """|Ax + s - b|, |Px + q + A'y| and |x'Px + q'x + b'y| relative to the largest of their terms, or 1."""
    P, A, q, b = program.P.toarray(), program.A.toarray(), program.q, program.b
    x, y, s = point.x, point.y, point.s
    results = []
    for terms in ((A @ x, s, -b), (P @ x, q, A.T @ y), (x @ P @ x, q @ x, b @ y)):
        size = max(1.0, *(float(np.abs(term).max(initial=0)) for term in terms))
        results.append(float(np.abs(sum(terms)).max(initial=0)) / size)
    return results[0], results[1], results[2]


@pytest.mark.parametrize("kind", PRODUCTS)
def test_the_pairs_are_in_the_cones_and_complementary(kind: str) -> None:
    """What the other tests stand on, by the definition of a dual cone: no point of K has y's < 0."""
    rng = np.random.default_rng(1)
    for cone in PRODUCTS[kind].factors:
        s, y = pairs(Product((cone,)), rng)
        assert abs(s @ y) <= 1e-14 * len(s)
        assert max(outside(cone, s), outside_dual(cone, y)) <= 1e-14
        for _ in range(50):
            other, _ = pairs(Product((cone,)), rng)
            assert y @ other >= -1e-14 * len(s)


@pytest.mark.parametrize(("solver", "kind"), TAKEN)
@pytest.mark.parametrize("seed", [0, 1])
def test_solutions(solver: AbstractSolver, kind: str, seed: int) -> None:
    """The optimality conditions by definition, and the known solution.

    The gap is at most (the accuracy) (its largest term), and P >= I, so that x is off by at most the square root of
    twice that; s = b - Ax and A'y = -Px - q follow, |A|, |A^-1| <= 2, |P| <= 5.
    """
    cones = PRODUCTS[kind]
    known = solved(cones, seed)
    result = solver.solve(known.program, None)
    assert result.status is Status.SOLVED
    assert max(residuals(known.program, result.point)) <= solver.accuracy
    assert farthest_outside(cones, result.point.s, result.point.y) <= solver.accuracy
    error = np.sqrt(2 * solver.accuracy * max(1.0, abs(known.program.b @ known.point.y)))
    for part, bound in (("x", 1), ("y", 10), ("s", 2)):
        np.testing.assert_allclose(getattr(result.point, part), getattr(known.point, part), rtol=0, atol=bound * error)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_cvxpy_agrees(solver: AbstractSolver) -> None:
    """The same program, its cones written as CVXPY's constraints: the rows mean what CVXPY says."""
    cones = PRODUCTS["shuffled"]
    program = solved(cones).program
    x, slack = cp.Variable(program.structure.n), cp.Variable(program.structure.m)
    constraints, start = [slack == program.b - program.A.toarray() @ x], 0
    for cone in cones.factors:
        constraints += as_constraints(cone, slack[start : start + cone.size])
        start += cone.size
    objective = cp.quad_form(x, cp.psd_wrap(program.P.toarray())) / 2 + program.q @ x
    cp.Problem(cp.Minimize(objective), constraints).solve(solver=cp.CLARABEL)
    np.testing.assert_allclose(solver.solve(program, None).point.x, x.value, rtol=0, atol=1e-3)


def as_constraints(cone: AbstractCone, s: cp.Expression) -> list[cp.Constraint]:
    match cone:
        case Zero():
            return [s == 0]
        case Nonnegative():
            return [s >= 0]
        case SecondOrder():
            return [cp.SOC(s[0], s[1:])]
        case Semidefinite(order):
            entries = [matrix(row, order).ravel() for row in np.eye(cone.size)]
            return [cp.reshape(np.array(entries).T @ s, (order, order), order="C") >> 0]
        case Exponential():
            return [cp.ExpCone(s[0], s[1], s[2])]
        case Power((first, _)):
            return [cp.PowCone3D(s[0], s[1], s[2], first)]
        case Power(exponents):
            return [cp.PowConeND(s[:-1], s[-1], np.array(exponents))]
    raise NotImplementedError(cone)


@pytest.mark.parametrize(("solver", "kind"), TAKEN)
@pytest.mark.parametrize("seed", [0, 1])
def test_certificates(solver: AbstractSolver, kind: str, seed: int) -> None:
    """1e-6 is what the certificate check of the package accepts; the solvers' own tolerances are 1e-7 and tighter."""
    cones = PRODUCTS[kind]
    program = infeasible(cones, seed)
    result = solver.solve(program, None)
    assert result.status is Status.INFEASIBLE
    y = result.point.y / -(program.b @ result.point.y)
    assert program.b @ result.point.y < 0
    assert np.abs(program.A.T @ y).max() <= 1e-6
    assert farthest_outside(cones, np.zeros(cones.size), y) <= 1e-6


@pytest.mark.parametrize(("solver", "kind"), TAKEN)
@pytest.mark.parametrize("seed", [0, 1])
def test_rays(solver: AbstractSolver, kind: str, seed: int) -> None:
    cones = PRODUCTS[kind]
    program = unbounded(cones, seed)
    result = solver.solve(program, None)
    assert result.status is Status.UNBOUNDED
    x = result.point.x / -(program.q @ result.point.x)
    assert program.q @ result.point.x < 0
    assert np.abs(program.P @ x).max() <= 1e-6
    assert farthest_outside(cones, -(program.A @ x), np.zeros(cones.size)) <= 1e-6


@pytest.mark.parametrize("kind", ["in SCS's order", "shuffled", "semidefinite", "self-dual"])
def test_scs_goes_on_from_a_start(kind: str) -> None:
    """At the solution it stops at the first check, which a start with its rows out of order would not allow."""
    product = Product(tuple(cone for cone in PRODUCTS[kind].factors if cone != Power((0.2, 0.3, 0.5))))
    known = solved(product)
    solver = SCS(1e-9, max_iterations=200_000)
    assert solver.solve(known.program, None).iterations > 25
    assert solver.solve(known.program, known.point).iterations <= 25


def test_scs_drops_a_start_without_values_for_a_chain() -> None:
    known = solved(PRODUCTS["shuffled"])
    result = SCS(1e-9, max_iterations=200_000).solve(known.program, known.point)
    assert result.status is Status.SOLVED
    np.testing.assert_allclose(result.point.x, known.point.x, rtol=0, atol=1e-3)


def test_rows_in_order_are_not_copied() -> None:
    program = solved(PRODUCTS["in SCS's order"]).program
    data = scs_form(program.structure.cones).data(program)
    assert data["A"] is program.A
    assert data["b"] is program.b
    assert not np.shares_memory(
        scs_form(PRODUCTS["shuffled"]).data(solved(PRODUCTS["shuffled"]).program)["b"], data["b"]
    )


def test_the_form_of_scs() -> None:
    form = scs_form(Product((Semidefinite(3), Power((0.2, 0.3, 0.5)), Zero(0), Zero(2), Exponential(), Nonnegative(1))))
    assert form.cones == {"z": 2, "l": 1, "s": [3], "ep": 1, "p": [0.4, 0.5]}
    # the lower triangle by columns: X00, X10, X20, X11, X21, X22
    expected = [10, 11, 15, 0, 1, 3, 2, 4, 5, 12, 13, 14, 6, 7, -1, -1, 8, 9]
    assert form.rows.tolist() == expected
    assert form.chained.tolist() == [0, 0]
    assert form.variables == 1


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_a_sparse_matrix_keeps_its_rows(solver: AbstractSolver) -> None:
    """max x'1 with the tridiagonal matrix of ones and off-diagonal x semidefinite, which a solver may decompose."""
    order = 8
    A = -np.array([vectorise(link) for link in links(order)]).T
    rows, columns = (places.astype(np.int32) for places in np.nonzero(A))
    none = np.zeros(0, dtype=np.int32)
    P, _ = Pattern.from_positions((order - 1, order - 1), none, none)
    pattern, places = Pattern.from_positions(A.shape, rows, columns)
    values = np.empty(pattern.size)
    values[places] = A[rows, columns]
    structure = Structure(P, pattern, Product((Semidefinite(order),)))
    program = ConeProgram(structure, np.zeros(0), -np.ones(order - 1), values, vectorise(np.eye(order)))
    result = solver.solve(program, None)
    assert result.status is Status.SOLVED
    assert max(residuals(program, result.point)) <= solver.accuracy
    assert farthest_outside(structure.cones, result.point.s, result.point.y) <= solver.accuracy


def links(order: int) -> list[np.ndarray]:
    """For each pair of neighbours, the symmetric matrix with a one at both of its places."""
    return [
        np.outer(row, column) + np.outer(column, row)
        for row, column in zip(np.eye(order)[:-1], np.eye(order)[1:], strict=True)
    ]


@pytest.mark.parametrize("solver", [OSQP(), SCS(), Clarabel()], ids=lambda solver: solver.name)
def test_nothing_but_an_objective(solver: AbstractSolver) -> None:
    program = dense_program(np.eye(2), np.array([1.0, -2.0]), np.zeros((0, 2)), np.zeros(0), Product(()))
    result = solver.solve(program, Point(np.ones(2), np.zeros(0), np.zeros(0)))
    assert result.status is Status.SOLVED
    np.testing.assert_allclose(result.point.x, [-1, 2], atol=1e-4)
    assert result.point.y.shape == result.point.s.shape == (0,)


def test_exponents_that_sum_to_one_nearly() -> None:
    known = solved(Product((Power((0.2, 0.3, 0.5 + 5e-13)), Power((0.2, 0.8 + 5e-13)))))
    for solver in SOLVERS:
        result = solver.solve(known.program, None)
        assert result.status is Status.SOLVED
        np.testing.assert_allclose(result.point.x, known.point.x, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("cone", "expected"),
    [
        (Dual(Semidefinite(3)), Semidefinite(3)),
        (Dual(Dual(Exponential())), Exponential()),
        (Dual(Dual(Dual(Exponential()))), Dual(Exponential())),
        (Power((1.0,)), SecondOrder(2)),
        (Dual(Power((1.0,))), SecondOrder(2)),
        (Dual(Zero(2)), Dual(Zero(2))),
        (Dual(Dual(Zero(2))), Zero(2)),
        (Power((0.5, 0.5)), Power((0.5, 0.5))),
    ],
)
def test_plain_names(cone: AbstractCone, expected: AbstractCone) -> None:
    assert plain(cone) == expected


@pytest.mark.parametrize(
    ("solver", "cone", "message"),
    [
        (
            OSQP(),
            SecondOrder(3),
            r"OSQP cannot solve.*linear.*not the cone SecondOrder\(dimension=3\); CLARABEL and SCS",
        ),
        (OSQP(), Exponential(), r"not the cone Exponential\(\); CLARABEL and SCS"),
        (Clarabel(), Dual(Exponential()), r"CLARABEL cannot solve.*Dual\(cone=Exponential\(\)\).*SCS has"),
        (Clarabel(), Dual(Zero(2)), r"it has no cone Dual\(cone=Zero\(count=2\)\)"),
        (SCS(), Dual(Zero(2)), r"it has no cone Dual\(cone=Zero\(count=2\)\)"),
    ],
    ids=str,
)
def test_cones_are_refused(solver: AbstractSolver, cone: AbstractCone, message: str) -> None:
    """When the solver is chosen and, since `solver_args` may name another one later, when it solves."""
    m = cone.size + 1
    program = dense_program(np.eye(m), np.zeros(m), np.eye(m), np.zeros(m), Product((Nonnegative(1), cone)))
    with pytest.raises(OptionError, match=message):
        choose(program.structure, solver)
    with pytest.raises(OptionError, match=message):
        solver.solve(program, None)


@pytest.mark.parametrize(
    ("cones", "name", "reason"),
    [
        (Product((Zero(3), Nonnegative(2))), "CLARABEL", "inequalities"),
        (Product((Zero(3), Dual(Nonnegative(2)))), "CLARABEL", "inequalities"),
        (Product((Zero(3), Nonnegative(2), SecondOrder(3))), "CLARABEL", "conic constraints"),
        (Product((Exponential(), Dual(Exponential()))), "SCS", "cones that only SCS has"),
    ],
    ids=["linear", "dual of linear", "conic", "dual"],
)
def test_the_default(cones: Product, name: str, reason: str) -> None:
    m = cones.size
    structure = dense_program(np.eye(m), np.zeros(m), np.eye(m), np.zeros(m), cones).structure
    choice = choose(structure, None)
    assert choice.solver.name == name
    assert choice.reason.startswith(reason)


def test_no_solver_takes_rows_without_a_constraint() -> None:
    program = dense_program(np.eye(2), np.zeros(2), np.eye(2), np.zeros(2), Product((Dual(Zero(2)),)))
    with pytest.raises(OptionError, match="no cone Dual"):
        choose(program.structure, None)
