"""Every convex and concave function of CVXPY compiles; the cone program has the optimal value that CVXPY finds."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest
from cvxpy.reductions.dcp2cone.canonicalizers import CANON_METHODS
from cvxpy.transforms.partial_optimize import partial_optimize

from optlayers.compiler import compile_problem
from optlayers.program import ConeProgram
from optlayers.solvers import Clarabel

ACCURACY = 1e-9
"""Of both solves."""

TOLERANCE = 1e-7
"""Of optimal values, relative to max(1, |value|): two solves at `ACCURACY`, the worst cases stop at ten times that."""

Build = Callable[[], tuple[cp.Problem, cp.Parameter]]

CASES: dict[str, Build] = {}

WEIGHTS = np.array([1.0, 2.0, 3.0])


def of_vector(name: str, atom: Callable[[cp.Variable], cp.Expression], *, positive: bool = False) -> None:
    """Minimise the function and |x - c|^2 over vectors, over positive ones if asked to; maximise if it is concave."""

    def build() -> tuple[cp.Problem, cp.Parameter]:
        x, c = cp.Variable(3, nonneg=positive), cp.Parameter(3)
        value = cp.sum(atom(x))
        near = cp.sum_squares(x - c)
        constraints = [x >= 0.1] if positive else []
        if value.is_convex():
            return cp.Problem(cp.Minimize(value + near), constraints), c
        return cp.Problem(cp.Maximize(value - near), constraints), c

    CASES[name] = build


def of_matrix(name: str, atom: Callable[[cp.Variable], cp.Expression], *, definite: bool = False) -> None:
    """The same over symmetric matrices, over positive definite ones if asked to."""

    def build() -> tuple[cp.Problem, cp.Parameter]:
        X, c = cp.Variable((4, 4), symmetric=True), cp.Parameter((4, 4))
        value = cp.sum(atom(X))
        near = cp.sum_squares(X - c)
        constraints = [X >> 0.1 * np.eye(4)] if definite else []
        if value.is_convex():
            return cp.Problem(cp.Minimize(value + near), constraints), c
        return cp.Problem(cp.Maximize(value - near), constraints), c

    CASES[name] = build


of_vector("abs", cp.abs)
of_vector("cummax", cp.cummax)
of_vector("cumsum", lambda x: cp.norm1(cp.cumsum(x)))
of_vector("cvar", lambda x: cp.cvar(x, 0.5))
of_vector("diff", lambda x: cp.norm1(cp.diff(x)))
of_vector("dotsort", lambda x: cp.dotsort(x, WEIGHTS))
of_vector("entr", cp.entr)
of_vector("exp", cp.exp)
of_vector("geo_mean", lambda x: cp.geo_mean(x, WEIGHTS, approx=False))
of_vector("geo_mean by second-order cones", lambda x: cp.geo_mean(x, WEIGHTS))
of_vector("harmonic_mean", cp.harmonic_mean)
of_vector("huber", cp.huber)
of_vector("inv_pos", cp.inv_pos)
of_vector("inv_prod", cp.inv_prod)
of_vector("kl_div", lambda x: cp.kl_div(x, x[::-1] + WEIGHTS))
of_vector("log", cp.log)
of_vector("log1p", cp.log1p)
of_vector("log_normcdf", cp.log_normcdf)
of_vector("log_sum_exp", cp.log_sum_exp)
of_vector("loggamma", cp.loggamma)
of_vector("logistic", cp.logistic)
of_vector("max", cp.max)
of_vector("maximum", lambda x: cp.maximum(x, 1, 2 * x))
of_vector("min", cp.min)
of_vector("minimum", lambda x: cp.minimum(x, 1, 2 * x))
of_vector("mixed_norm", lambda x: cp.mixed_norm(cp.vstack([x, 2 * x]), 2, 1))
of_vector("norm 1", cp.norm1)
of_vector("norm 2", lambda x: cp.norm(x, 2))
of_vector("norm 3", lambda x: cp.norm(x, 3))
of_vector("norm infinity", cp.norm_inf)
of_vector("pnorm 3.5", lambda x: cp.pnorm(x, 3.5, approx=False))
of_vector("pnorm 0.5", lambda x: cp.pnorm(x, 0.5, approx=False))
of_vector("pnorm -1", lambda x: cp.pnorm(x, -1))
of_vector("power 1.7", lambda x: cp.power(x, 1.7, approx=False))
of_vector("power 1.7 by second-order cones", lambda x: cp.power(x, 1.7))
of_vector("power 0.3", lambda x: cp.power(x, 0.3, approx=False))
of_vector("power -2", lambda x: cp.power(x, -2, approx=False))
of_vector("ptp", cp.ptp)
of_vector("quad_over_lin", lambda x: cp.quad_over_lin(x, x[0] + 1), positive=True)
of_vector("rel_entr", lambda x: cp.rel_entr(x, x[::-1] + 1))
of_vector("scalene", lambda x: cp.scalene(x, 2, 3))
of_vector("sqrt", cp.sqrt)
of_vector("std", cp.std)
of_vector("sum_largest", lambda x: cp.sum_largest(x, 1.5))
of_vector("sum_smallest", lambda x: cp.sum_smallest(x, 2))
of_vector("var", cp.var)
of_vector("xexp", cp.xexp, positive=True)
of_matrix("condition", lambda X: cp.lambda_max(X) - cp.lambda_min(X))
of_matrix("lambda_max", cp.lambda_max)
of_matrix("lambda_min", cp.lambda_min)
of_matrix("lambda_sum_largest", lambda X: cp.lambda_sum_largest(X, 2))
of_matrix("lambda_sum_smallest", lambda X: cp.lambda_sum_smallest(X, 2))
of_matrix("log_det", cp.log_det)
of_matrix("log_sum_exp by columns", lambda X: cp.log_sum_exp(X, axis=0))
of_matrix("matrix_frac", lambda X: cp.matrix_frac(np.arange(4.0), X))
of_matrix("norm of rows", lambda X: cp.norm(X, 2, axis=1))
of_matrix("nuclear norm", cp.normNuc)
of_matrix("partial_trace", lambda X: cp.lambda_max(cp.partial_trace(X, [2, 2], 0)))
of_matrix("partial_transpose", lambda X: cp.normNuc(cp.partial_transpose(X, [2, 2], 1)))
of_matrix("quad_form", lambda X: cp.square(cp.norm(X[0])) + cp.quad_form(X[1], np.diag(np.arange(4.0))))
of_matrix("quantum_cond_entr", lambda X: cp.quantum_cond_entr(X, [2, 2]), definite=True)
of_matrix("quantum_rel_entr", lambda X: cp.quantum_rel_entr(X, X + np.eye(4)), definite=True)
of_matrix("sigma_max", cp.sigma_max)
of_matrix("tr_inv", cp.tr_inv)
of_matrix("total variation", cp.tv)
of_matrix("von_neumann_entr", cp.von_neumann_entr)


def case(build: Build) -> Build:
    CASES[build.__name__] = build
    return build


@case
def support_function() -> tuple[cp.Problem, cp.Parameter]:
    a, x, c = cp.Variable(3), cp.Variable(3), cp.Parameter(3)
    support = cp.suppfunc(a, [cp.norm(a) <= 1, cp.sum(a) == 0.5, cp.exp(a[0]) <= 3])
    return cp.Problem(cp.Minimize(support(x) + cp.sum_squares(x - c))), c


@case
def perspective() -> tuple[cp.Problem, cp.Parameter]:
    X, t, c = cp.Variable((3, 3), symmetric=True), cp.Variable(nonneg=True), cp.Parameter((3, 3))
    function = cp.perspective(cp.lambda_max(X) + cp.exp(X[0, 0]) + cp.sum_squares(X), t)
    return cp.Problem(cp.Minimize(function + cp.sum_squares(X - c) + cp.square(t - 2)), [t >= 0.1]), c


@case
def minimisation_inside() -> tuple[cp.Problem, cp.Parameter]:
    x, y, c = cp.Variable(3), cp.Variable(3), cp.Parameter(3)
    inner = cp.Problem(cp.Minimize(cp.norm(x - y) + cp.norm1(y - c)), [y >= 0.1])
    return cp.Problem(cp.Minimize(partial_optimize(inner, [y], [x]) + cp.norm(x - 2 * c))), c


@case
def function_of_a_parameter() -> tuple[cp.Problem, cp.Parameter]:
    """exp(c) and lambda_max(C) have cones of their own, which CVXPY does not give to constants."""
    X, c = cp.Variable((3, 3), symmetric=True), cp.Parameter((3, 3), symmetric=True)
    constraints = [cp.exp(c[0, 0]) + cp.norm(X[0]) <= 4, cp.lambda_max(c) + cp.trace(X) <= 1]
    return cp.Problem(cp.Minimize(cp.sum_squares(X - c)), constraints), c


@case
def three_axes() -> tuple[cp.Problem, cp.Parameter]:
    X, c = cp.Variable((2, 3, 2)), cp.Parameter((2, 3, 2))
    objective = cp.sum_squares(cp.swapaxes(X, 0, 2) - cp.permute_dims(c, (2, 1, 0))) + cp.sum(cp.logistic(X))
    constraints = [cp.log_sum_exp(X, axis=(0, 1)) <= 3, cp.norm(X[0], "fro") <= 2]
    return cp.Problem(cp.Minimize(objective), constraints), c


@case
def batch_of_semidefinite_matrices() -> tuple[cp.Problem, cp.Parameter]:
    X, c = cp.Variable((2, 3, 3)), cp.Parameter((2, 3, 3))
    return cp.Problem(cp.Minimize(cp.sum_squares(X - c)), [cp.PSD(X)]), c


@case
def structured_variables() -> tuple[cp.Problem, cp.Parameter]:
    D, E, N = (
        cp.Variable((3, 3), diag=True),
        cp.Variable((3, 3), sparsity=([0, 1], [2, 0])),
        cp.Variable((3, 3), NSD=True),
    )
    c = cp.Parameter((3, 3))
    fit = cp.sum_squares(cp.diag(D) - c[0]) + cp.sum_squares(E - c) + cp.sum_squares(N - c)
    return cp.Problem(cp.Minimize(fit + cp.lambda_max(D + E + E.T + N)), [D <= 1]), c


@case
def hermitian() -> tuple[cp.Problem, cp.Parameter]:
    Z, c = cp.Variable((2, 2), hermitian=True), cp.Parameter((2, 2))
    fit = cp.sum_squares(cp.real(Z) - c) + cp.sum_squares(cp.imag(Z) - c) - cp.log_det(Z)
    return cp.Problem(cp.Minimize(fit + cp.lambda_max(Z)), [Z >> 0.1 * np.eye(2)]), c


@case
def complex_vector() -> tuple[cp.Problem, cp.Parameter]:
    z, w, t, c = cp.Variable(3, complex=True), cp.Variable(3, imag=True), cp.Variable(), cp.Parameter(3)
    constraints = [cp.SOC(t, z + 1j * c), cp.abs(z) <= 2, cp.norm(z, 1) <= 3]
    objective = t + cp.sum_squares(cp.real(z) - c) + cp.sum_squares(cp.imag(w) - c) + cp.norm(w - z)
    return cp.Problem(cp.Minimize(objective), constraints), c


@case
def every_cone() -> tuple[cp.Problem, cp.Parameter]:
    x, X, W, z = cp.Variable(3), cp.Variable((3, 3), symmetric=True), cp.Variable((3, 2)), cp.Variable(2)
    c = cp.Parameter(3)
    weights = np.array([[0.2, 0.3], [0.3, 0.3], [0.5, 0.4]])
    objective = cp.sum_squares(x - c) + cp.sum_squares(X - cp.diag(c)) + cp.sum_squares(W - 1) + cp.sum_squares(z - 2)
    constraints = [
        cp.PowConeND(W, z, weights),
        cp.PowCone3D(x[0] + 3, x[1] + 4, z[0], 0.3),
        X >> -np.eye(3),
        cp.ExpCone(z[0], x[0] + 3, x[1] + 5),
        cp.SOC(x[0] + 3, W[:, 0]),
        x <= 1,
        cp.trace(X) == cp.sum(x),
    ]
    return cp.Problem(cp.Minimize(objective), constraints), c


@pytest.mark.filterwarnings("ignore:.*approximated with rational:UserWarning")
@pytest.mark.filterwarnings("ignore:.*SCIPY backend:UserWarning")
@pytest.mark.parametrize("build", CASES.values(), ids=CASES)
def test_the_optimal_value_is_cvxpy_s(build: Build) -> None:
    problem, parameter = build()
    outputs = [variable for variable in problem.variables() if not variable.is_complex()]
    parametric = compile_problem(problem, [parameter], outputs)
    value = parameter.project(np.random.default_rng(1).standard_normal(parameter.shape))
    theta = value.ravel()
    program = ConeProgram.from_data(parametric.structure, parametric.data.apply(theta))
    point = Clarabel(accuracy=ACCURACY).solve(program, None).point
    optimum = point.x @ (program.P @ point.x) / 2 + program.q @ point.x + parametric.constant.apply(theta)[0]
    if isinstance(problem.objective, cp.Maximize):
        optimum = -optimum

    parameter.value = value
    with warnings.catch_warnings(action="ignore"):  # one power cone's last digits are out of Clarabel's reach
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=ACCURACY, tol_gap_rel=ACCURACY, tol_feas=ACCURACY)
    expected = problem.solution.opt_val  # that of the cones: of quantum entropies CVXPY uses an approximation
    assert optimum == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)

    if len(outputs) == 1:  # objective >= |x - x*|^2: 1e-7 in the value allows 3e-4 in x, twice
        recovered = parametric.signature.split(np, parametric.recovery.apply(np.concatenate([point.x, point.y])))
        np.testing.assert_allclose(recovered[0], outputs[0].value, atol=1e-3)


@pytest.mark.filterwarnings("ignore:.*approximated with rational:UserWarning")
@pytest.mark.filterwarnings("ignore:.*SCIPY backend:UserWarning")
@pytest.mark.parametrize("name", ["exp", "every_cone", "lambda_max"])
def test_a_quadratic_objective_stays_one_beside_cones(name: str) -> None:
    problem, parameter = CASES[name]()
    parametric = compile_problem(problem, [parameter], [])
    assert parametric.structure.P.size >= problem.variables()[0].size


def test_every_function_that_cvxpy_turns_into_cones_is_among_the_cases() -> None:
    logic = {"Not", "And", "Or", "Xor"}  # of boolean variables
    inner = {
        "indicator",
        "special_index",
    }  # an indicator's constraints, an array as an index: no functions of their own
    seen = {atom.__name__ for build in CASES.values() for atom in build()[0].atoms()}
    seen |= {"SuppFuncAtom"}
    missing = {atom.__name__ for atom in CANON_METHODS} - seen - logic - inner
    assert not missing
