"""Units: solutions do not depend on those of objective and variables, and a solver is not taken at its word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import cvxpy as cp
import numpy as np
import pytest

import optlayers
from optlayers.cones import AbstractCone
from optlayers.errors import SolveError, Status
from optlayers.program import ConeProgram, Point, SolverResult
from optlayers.solvers import AbstractSolver

UNITS = (1e-9, 1e-8, 1e-6, 1e-3, 1e3, 1e6, 1e9)
ROUNDING = 1e-13
POLYHEDRAL, CONIC = ("OSQP", "SCS", "CLARABEL"), ("SCS", "CLARABEL")
RETURNS, FACTOR = np.array([0.3, 0.1, 0.4, 0.2]), np.random.default_rng(0).standard_normal((4, 4))

units = pytest.mark.parametrize("unit", UNITS)
inexact_multipliers = pytest.mark.filterwarnings("ignore:.*miss the requested accuracy")
"""v = y - s holds y, where s is 1e9 times larger in a curved cone, to 1e-7: the solution is exact, and a warning says
that the multipliers are not."""


def objective(name: str, w: cp.Variable, mu: cp.Parameter) -> cp.Expression:
    match name:
        case "linear":
            return mu @ w
        case "quadratic":
            return cp.sum_squares(FACTOR @ w) - mu @ w
        case "norm1":
            return cp.norm1(FACTOR @ w - mu)
        case "norm2":
            return cp.norm(FACTOR @ w) - mu @ w
    return -cp.sum(cp.entr(w)) - mu @ w


def weights(name: str, unit: float, solver: str) -> optlayers.CompiledProblem:
    w, mu = cp.Variable(4), cp.Parameter(4)
    problem = cp.Problem(cp.Minimize(unit * objective(name, w, mu)), [cp.sum(w) == 1, w >= 0])
    return optlayers.compile(problem, [mu], [w], solver=solver)


CASES = [
    *((name, solver) for name in ("linear", "quadratic", "norm1") for solver in POLYHEDRAL),
    *((name, solver) for name in ("norm2", "entropy") for solver in CONIC),
]


@units
@inexact_multipliers
@pytest.mark.parametrize(("name", "solver"), CASES)
def test_the_units_of_the_objective_do_not_matter(name: str, solver: str, unit: float) -> None:
    (expected,) = weights(name, 1.0, solver).solve(RETURNS).outputs
    solution = weights(name, unit, solver).solve(RETURNS)
    np.testing.assert_allclose(solution.outputs[0], expected, rtol=0, atol=ROUNDING)
    if solver == "OSQP" or name not in ("norm2", "entropy") or 1e-3 <= unit <= 1e3:
        assert solution.reports[0].status is Status.SOLVED


def test_the_vertex_of_a_linear_program_in_small_units() -> None:
    for solver in POLYHEDRAL:
        (w,) = weights("linear", 1e-8, solver).solve(RETURNS).outputs
        np.testing.assert_allclose(w, [0, 1, 0, 0], rtol=0, atol=ROUNDING)


@units
@inexact_multipliers
@pytest.mark.parametrize("solver", CONIC)
def test_the_units_of_the_constraints_do_not_matter(solver: str, unit: float) -> None:
    Y, p = cp.Variable((2, 2), symmetric=True), cp.Parameter()
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.trace(Y)), [Y >> 0, Y[0, 1] == p]), [p], [Y], solver=solver)
    np.testing.assert_allclose(compiled.solve(np.array(5 * unit)).outputs[0] / unit, np.full((2, 2), 5), rtol=ROUNDING)
    u, q = cp.Variable(2), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.sum(u)), [cp.PowCone3D(u[0], u[1], q, 0.3)])
    (found,) = optlayers.compile(problem, [q], [u], solver=solver).solve(np.array(3 * unit)).outputs
    # Weighted means: the sum is 1 at u = (0.3, 0.7), where u0^0.3 u1^0.7 = 0.3^0.3 0.7^0.7.
    np.testing.assert_allclose(found / unit, 3 * np.array([0.3, 0.7]) / (0.3**0.3 * 0.7**0.7), rtol=ROUNDING)


@inexact_multipliers
@pytest.mark.parametrize("solver", CONIC)
def test_a_small_quadratic_beside_a_norm(solver: str) -> None:
    x, a, t = cp.Variable(3), cp.Parameter(3), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a) + cp.norm(x)), [cp.sum(x) == t, x >= 0])
    compiled = optlayers.compile(problem, [a, t], [x], solver=solver)
    solution = compiled.solve(1e-9 * np.array([1.0, 2.0, -3.0]), np.array(1e-9))
    # The norm decides, |x| = t / sqrt 3, and to first order in it x = t / 3 + 2 |x| a, since the sum of a is 0.
    expected = 1e-9 / 3 + 2e-9 / np.sqrt(3) * 1e-9 * np.array([1.0, 2.0, -3.0])
    np.testing.assert_allclose(solution.outputs[0], expected, rtol=ROUNDING)


class PanicException(BaseException):
    """Clarabel's, which no module exports."""


@pytest.mark.parametrize("solver", CONIC)
def test_a_solver_that_breaks_down_leaves_it_to_refinement(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        if solver == "SCS":
            raise ValueError("ScsWork allocation error!")
        raise PanicException("called `Option::unwrap()` on a `None` value")

    compiled = weights("quadratic", 1.0, solver)
    (expected,) = compiled.solve(RETURNS).outputs
    monkeypatch.setattr("scs.SCS" if solver == "SCS" else "clarabel.DefaultSolver", fail)
    np.testing.assert_allclose(compiled.solve(RETURNS).outputs[0], expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_other_errors_of_a_solver_are_not_swallowed(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    compiled = weights("linear", 1.0, "CLARABEL")
    monkeypatch.setattr("clarabel.DefaultSolver", fail)
    with pytest.raises(error):
        compiled.solve(RETURNS)


@final
@dataclass(frozen=True)
class Boastful(AbstractSolver):
    """Calls any point solved."""

    accuracy: float = 1e-5
    max_iterations: int = 1
    claim: Status = Status.SOLVED

    name: ClassVar[str] = "BOASTFUL"

    @classmethod
    def option_names(cls) -> frozenset[str]:
        return frozenset()

    @classmethod
    def refuses(cls, cone: AbstractCone) -> str | None:
        return None

    def solve(self, program: ConeProgram, start: Point | None) -> SolverResult:
        structure = program.structure
        ones = np.ones(structure.m)
        return SolverResult(Point(np.full(structure.n, 7.0), ones, 0 * ones), self.claim, "Boastful: done", 1)


@pytest.mark.parametrize("claim", [Status.SOLVED, Status.INACCURATE])
def test_a_claim_of_a_solution_needs_a_residual_that_shows_it(claim: Status) -> None:
    w, mu = cp.Variable(4), cp.Parameter(4)
    problem = cp.Problem(cp.Minimize(cp.exp(w[0]) + mu @ w), [cp.norm(w) <= 1, cp.sum(w) == 0])
    compiled = optlayers.compile(problem, [mu], [w], solver=Boastful(claim=claim))
    unrefined = optlayers.kkt.Refinement(newton_limit=0, proximal_limit=0, polish_limit=0)
    object.__setattr__(compiled.solution_map, "refinement", unrefined)
    with pytest.raises(SolveError, match=r"numerical error \(Boastful: done; the relative KKT residual is") as caught:
        compiled.solve(RETURNS)
    assert [failure.status for failure in caught.value.failures] == [Status.NUMERICAL_ERROR]


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("solver", CONIC)
@pytest.mark.parametrize(("level", "accuracy"), [(1e-2, 1e-9), (1e-3, 1e-9), (1.0, 1e-13)])
def test_multipliers_much_larger_than_slacks_leave_the_solution_exact(
    solver: str, level: float, accuracy: float
) -> None:
    # min Y00 subject to det Y >= 0: Y00 = 1 / p, with multipliers of the size 1 / p^2.
    Y, p = cp.Variable((2, 2), symmetric=True), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(Y[0, 0]), [Y >> 0, Y[0, 1] == 1, Y[1, 1] == p])
    (found,) = optlayers.compile(problem, [p], [Y], solver=solver).solve(np.array(level)).outputs
    np.testing.assert_allclose(found, [[1 / level, 1], [1, level]], rtol=accuracy)


@pytest.mark.parametrize(("solver", "norm"), [("OSQP", "inf"), ("CLARABEL", "inf"), ("SCS", "inf"), ("SCS", 2)])
def test_ill_conditioned_least_squares_with_an_idle_constraint(solver: str, norm: str | int) -> None:
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((size, 6)))[0] for size in (12, 6))
    A = U * np.logspace(0, -4, 6) @ V.T
    b_value = A @ rng.standard_normal(6) + 0.1 * rng.standard_normal(12)
    expected = V * np.logspace(0, 4, 6) @ U.T @ b_value
    x, b = cp.Variable(6), cp.Parameter(12)
    limit = 100 * np.linalg.norm(expected)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [cp.norm(x, norm) <= limit])
    (found,) = optlayers.compile(problem, [b], [x], solver=solver).solve(b_value).outputs
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("solver", ["SCS", "CLARABEL"])
@pytest.mark.parametrize("r", [1e-6, 1e-9])
def test_a_solution_just_below_the_tolerance_is_refined_on(solver: str, r: float) -> None:
    """y = -sqrt(r), from a cone whose rows 1 + r and 1 - r hold r to few digits: a residual of 1e-10 leaves 7 %."""
    y, bound = cp.Variable(), cp.Parameter()
    compiled = optlayers.compile(cp.Problem(cp.Minimize(y), [cp.square(y) <= bound]), [bound], [y], solver=solver)
    np.testing.assert_allclose(compiled.solve(np.array(r)).outputs[0], -np.sqrt(r), rtol=1e-6)
