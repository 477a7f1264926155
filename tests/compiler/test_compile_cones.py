"""Compiling every cone: rows, dual variables, matrices, complex variables, against CVXPY's own solve."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest

import optlayers
from optlayers.compiler import compile_problem
from optlayers.cones import Exponential, Nonnegative, Power, SecondOrder, Semidefinite, Zero
from optlayers.errors import ProblemError, UnsupportedError

RNG = np.random.default_rng(0)
C_VALUE = RNG.standard_normal((3, 3))


def reference(problem: cp.Problem) -> float:
    """Solve by CVXPY with Clarabel, whose rows the package's need not be, and return how far to trust it."""
    if any(isinstance(constraint, cp.PowConeND) for constraint in problem.constraints):
        problem.solve(solver=cp.CLARABEL)  # on these cones it reaches 4e-9 and no better
        return 1e-3
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return 2e-5


def second_order() -> tuple[cp.Problem, cp.Parameter, list[cp.Variable]]:
    x, X, c = cp.Variable(2), cp.Variable((3, 2)), cp.Parameter((3, 3))
    ball = cp.SOC(2 * x[0] + 1, c[:, 0] - X[:, 0])
    rows = cp.SOC(x, X.T, axis=1)
    problem = cp.Problem(cp.Minimize(cp.sum(x) + cp.sum_squares(X - c[:, :2]) + cp.sum_squares(x)), [ball, rows])
    return problem, c, [*ball.dual_variables, *rows.dual_variables]


def semidefinite() -> tuple[cp.Problem, cp.Parameter, list[cp.Variable]]:
    X, c = cp.Variable((3, 3), symmetric=True), cp.Parameter((3, 3))
    above, below = X >> 0, X << 2 * np.eye(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - 3 * c)), [above, below])
    return problem, c, [*above.dual_variables, *below.dual_variables]


def exponential() -> tuple[cp.Problem, cp.Parameter, list[cp.Variable]]:
    x, y, z, c = cp.Variable((2, 2)), cp.Variable((2, 2)), cp.Variable((2, 2)), cp.Parameter((3, 3))
    cone = cp.ExpCone(x, y, z)
    objective = cp.sum_squares(x - c[:2, :2]) + cp.sum_squares(y - 1) + cp.sum(z)
    return cp.Problem(cp.Minimize(objective), [cone]), c, list(cone.dual_variables)


def power() -> tuple[cp.Problem, cp.Parameter, list[cp.Variable]]:
    x, y, z, c = cp.Variable(2), cp.Variable(2), cp.Variable(2), cp.Parameter((3, 3))
    cone = cp.PowCone3D(x, y, z, np.array([0.3, 0.6]))
    objective = cp.sum_squares(x) + cp.sum_squares(y) + cp.sum_squares(z - 3 - c[0, :2])
    return cp.Problem(cp.Minimize(objective), [cone]), c, list(cone.dual_variables)


def power_n() -> tuple[cp.Problem, cp.Parameter, list[cp.Variable]]:
    W, z, c = cp.Variable((3, 2)), cp.Variable(2), cp.Parameter((3, 3))
    cone = cp.PowConeND(W, z, np.array([[0.2, 0.5], [0.3, 0.25], [0.5, 0.25]]))
    objective = cp.sum_squares(W - c[:, :2]) + cp.sum_squares(z - 2)
    return cp.Problem(cp.Minimize(objective), [cone]), c, list(cone.dual_variables)


KINDS = {kind.__name__: kind for kind in (second_order, semidefinite, exponential, power, power_n)}

kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@kinds
@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
def test_variables_and_dual_variables_are_those_of_cvxpy(
    kind: Callable[[], tuple[cp.Problem, cp.Parameter, list[cp.Variable]]],
) -> None:
    problem, c, duals = kind()
    for constraint in problem.constraints:
        for dual in constraint.dual_variables:
            dual.save_value(None)
    compiled = optlayers.compile(problem, [c], [*problem.variables(), *duals])
    assert all(dual.value is None for dual in duals)  # nothing of the user's is changed
    solution = compiled.solve(C_VALUE)
    assert solution.reports[0].residual <= 1e-9
    c.value = C_VALUE
    accuracy = reference(problem)
    for ours, theirs in zip(solution.outputs, [*problem.variables(), *duals], strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, np.reshape(theirs.value, theirs.shape), atol=accuracy)


def test_a_semidefinite_variable_gives_a_semidefinite_cone() -> None:
    X, c = cp.Variable((3, 3), PSD=True), cp.Parameter((3, 3), symmetric=True)
    parametric = compile_problem(cp.Problem(cp.Minimize(cp.trace(X) + cp.norm(X - c, "fro"))), [c], [X])
    assert parametric.structure.cones.factors[-1] == Semidefinite(3)


def test_each_atom_gives_its_cone() -> None:
    x, c = cp.Variable(3, pos=True), cp.Parameter(3, pos=True)
    X = cp.Variable((3, 3), symmetric=True)
    problem = cp.Problem(
        cp.Minimize(
            cp.norm(x - c)
            + cp.sum(cp.exp(x))
            - cp.geo_mean(x, [1, 2, 3], approx=False)
            + cp.lambda_max(X)
            + cp.pnorm(x, 3.5, approx=False)
        ),
        [cp.trace(X) == cp.sum(c), x >= 0.1],
    )
    found = {type(cone) for cone in compile_problem(problem, [c], [x]).structure.cones.factors}
    assert found == {Zero, Nonnegative, SecondOrder, Semidefinite, Exponential, Power}


def test_a_constraint_of_several_dual_variables_must_be_asked_for_by_part() -> None:
    problem, c, _ = second_order()
    with pytest.raises(ProblemError, match=r"constraints\[0\] has 2 dual variables.*dual_variables\[0\]"):
        compile_problem(problem, [c], [problem.constraints[0]])


def test_symmetric_matrices_have_symmetric_cotangents() -> None:
    X, c = cp.Variable((4, 4), PSD=True), cp.Parameter((4, 4), symmetric=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - c)), [cp.diag(X) == 1])
    compiled = optlayers.compile(problem, [c], [X])
    value = np.random.default_rng(1).standard_normal((4, 4))
    solution = compiled.solve(value + value.T)
    np.testing.assert_array_equal(solution.outputs[0], solution.outputs[0].T)
    (g_c,) = compiled.vjp(solution, np.random.default_rng(2).standard_normal((4, 4)))
    np.testing.assert_array_equal(g_c, g_c.T)


def complex_least_squares() -> tuple[cp.Problem, list[cp.Parameter], cp.Variable, cp.Variable]:
    z, real = cp.Variable(3, complex=True), cp.Variable(3)
    re, im = cp.Parameter(3), cp.Parameter(3)
    objective = cp.norm(z - (re + 1j * im)) + cp.sum_squares(cp.abs(z))
    return cp.Problem(cp.Minimize(objective), [real == cp.real(z)]), [re, im], z, real


def test_complex_variables_work_inside() -> None:
    problem, (re, im), _, real = complex_least_squares()
    re_value, im_value = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, -1.0])
    solution = optlayers.compile(problem, [re, im], [real]).solve(re_value, im_value)
    # |z - a| + |z|^2 is smallest at z = a / (2 |a|) if |a| > 1/2
    expected = re_value / (2 * np.sqrt((re_value**2 + im_value**2).sum()))
    np.testing.assert_allclose(solution.outputs[0], expected, atol=1e-12)


def test_complex_outputs_and_parameters_are_refused_by_name() -> None:
    problem, parameters, z, _ = complex_least_squares()
    with pytest.raises(UnsupportedError, match=rf"variable '{z.name()}' is complex.*cp.real"):
        compile_problem(problem, parameters, [z])
    w, a = cp.Variable(2, complex=True), cp.Parameter(2, complex=True, name="a")
    with pytest.raises(UnsupportedError, match=r"parameter a is complex(.|\n)*real \+ 1j \* imaginary"):
        compile_problem(cp.Problem(cp.Minimize(cp.norm(w - a))), [a], [])
    equality = w == np.array([1.0, 1j])
    with pytest.raises(UnsupportedError, match=r"constraints\[0\] is complex"):
        compile_problem(cp.Problem(cp.Minimize(cp.norm(w)), [equality]), [], [equality])
