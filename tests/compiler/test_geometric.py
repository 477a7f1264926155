"""Geometric programs, against CVXPY's own solve and central differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cvxpy.reductions.dgp2dcp.canonicalizers import CANON_METHODS

import optlayers
import optlayers.compiler.compile as compile_module
import optlayers.jax as jax_front_end
import optlayers.torch as torch_front_end
from optlayers.compiler import compile_problem
from optlayers.errors import (
    ArgumentError,
    MixedIntegerError,
    NotConvexError,
    NotDPPError,
    ProblemError,
    UnsupportedError,
    VerificationError,
)
from optlayers.program import ConeProgram
from optlayers.solvers import Clarabel

STEP = 1e-6


def box() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """The largest box of wall and floor area at most `wall` and `floor`, with an exponent as a parameter."""
    height, width, depth = (cp.Variable(pos=True, name=name) for name in ("height", "width", "depth"))
    wall, floor = cp.Parameter(pos=True, name="wall"), cp.Parameter(pos=True, name="floor")
    exponent = cp.Parameter(name="exponent")
    constraints = [
        wall >= 2 * height * width + 2 * height * depth,
        floor >= width * depth,
        height >= width**exponent,
    ]
    problem = cp.Problem(cp.Maximize(height * width * depth), constraints)
    return problem, [wall, floor, exponent], [height, width, depth]


VALUES = (np.array(20.0), np.array(4.0), np.array(0.8))


def assign(parameters: Sequence[cp.Parameter], values: Sequence[np.ndarray]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.value = value


def solve_by_cvxpy(problem: cp.Problem) -> float:
    """The optimal value by CVXPY and Clarabel, at a tolerance of 1e-10."""
    tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-10)
    return float(problem.solve(gp=True, solver=cp.CLARABEL, **tolerances))


def test_the_solution_is_cvxpy_s() -> None:
    problem, parameters, variables = box()
    solution = optlayers.compile(problem, parameters, variables, gp=True).solve(*VALUES)
    assert solution.reports[0].residual <= 1e-9
    assign(parameters, VALUES)
    solve_by_cvxpy(problem)
    for output, variable in zip(solution.outputs, variables, strict=True):
        np.testing.assert_allclose(output, variable.value, rtol=1e-5)


def test_both_modes() -> None:
    problem, parameters, variables = box()
    compiled = optlayers.compile(problem, parameters, variables, gp=True)
    solution = compiled.solve(*VALUES)
    tangents = (np.array(1.0), np.array(-0.3), np.array(0.1))
    cotangents = (np.array(0.5), np.array(-1.0), np.array(2.0))
    above, below = (
        compiled.solve(*(value + sign * STEP * tangent for value, tangent in zip(VALUES, tangents, strict=True)))
        for sign in (1, -1)
    )
    slopes = [(a - b) / (2 * STEP) for a, b in zip(above.outputs, below.outputs, strict=True)]
    tangent_outputs = compiled.jvp(solution, *tangents)
    np.testing.assert_allclose(tangent_outputs, slopes, atol=1e-8)
    g_values = compiled.vjp(solution, *cotangents)
    left = sum(float(g * slope) for g, slope in zip(cotangents, tangent_outputs, strict=True))
    right = sum(float(g * tangent) for g, tangent in zip(g_values, tangents, strict=True))
    assert left == pytest.approx(right, rel=1e-12)


@pytest.mark.parametrize("wrong", [-1.0, 0.0, np.inf])
def test_values_that_are_not_positive_are_refused_before_any_solve(wrong: float) -> None:
    problem, parameters, variables = box()
    compiled = optlayers.compile(problem, parameters, variables, gp=True)
    with pytest.raises(ArgumentError, match=r"'floor' must be positive and finite.*batch index \(1,\)"):
        compiled.solve(VALUES[0], np.array([4.0, wrong]), VALUES[2])


def test_sums_of_parameters() -> None:
    x, y = cp.Variable(pos=True), cp.Variable(pos=True)
    a, b = cp.Parameter(pos=True), cp.Parameter(pos=True)
    compiled = optlayers.compile(cp.Problem(cp.Minimize(x + y), [x * y >= a + b]), [a, b], [x], gp=True)
    solution = compiled.solve(np.array(1.0), np.array(3.0))
    np.testing.assert_allclose(solution.outputs[0], 2.0, rtol=1e-9)
    np.testing.assert_allclose(compiled.vjp(solution, np.array(1.0)), [0.25, 0.25], rtol=1e-7)


def test_dual_variables_are_relative_sensitivities() -> None:
    """log of the optimal value, differentiated by log of a side: CVXPY's dual values, and ours."""
    problem, parameters, _ = box()
    requests = problem.constraints
    compiled = optlayers.compile(problem, parameters, requests, gp=True)
    duals = compiled.solve(*VALUES).outputs
    assign(parameters, VALUES)
    solve_by_cvxpy(problem)
    for ours, constraint in zip(duals, requests, strict=True):
        np.testing.assert_allclose(ours, constraint.dual_value, atol=1e-6)
    volumes = []
    for sign in (1, -1):
        assign(parameters, (VALUES[0] * np.exp(sign * 1e-3), *VALUES[1:]))
        volumes.append(np.log(solve_by_cvxpy(problem)))
    # central differences at a step of 1e-3, of values that are accurate to 1e-10
    assert duals[0] == pytest.approx((volumes[0] - volumes[1]) / 2e-3, abs=1e-5)


def test_dual_variables_are_differentiated() -> None:
    problem, parameters, _ = box()
    compiled = optlayers.compile(problem, parameters, [problem.constraints[2]], gp=True)
    solution = compiled.solve(*VALUES)
    exponents = (VALUES[2] + STEP, VALUES[2] - STEP)
    above, below = (compiled.solve(*VALUES[:2], exponent).outputs[0] for exponent in exponents)
    (slope,) = compiled.jvp(solution, np.array(0.0), np.array(0.0), np.array(1.0))
    assert slope == pytest.approx((above - below) / (2 * STEP), abs=1e-7)


def test_the_frameworks_differentiate_logarithms_and_exponentials() -> None:
    problem, parameters, variables = box()
    arguments = (problem, parameters, variables)
    compiled = optlayers.compile(*arguments, gp=True)
    solution = compiled.solve(*VALUES)
    cotangents = tuple(np.array(g) for g in (0.5, -1.0, 2.0))
    expected = compiled.vjp(solution, *cotangents)

    tensors = [torch.tensor(value, requires_grad=True) for value in VALUES]
    outputs = torch_front_end.CvxpyLayer(*arguments, gp=True)(*tensors)
    gradients = torch.autograd.grad(outputs, tensors, [torch.tensor(g) for g in cotangents])
    for output, ours in zip(outputs, solution.outputs, strict=True):
        np.testing.assert_allclose(output.detach().numpy(), ours, rtol=1e-12)
    for gradient, ours in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient.numpy(), ours, rtol=1e-9)

    layer = jax_front_end.CvxpyLayer(*arguments, gp=True)
    outputs, pull_back = jax.vjp(lambda *arrays: layer(*arrays), *map(jnp.asarray, VALUES))
    for output, ours in zip(outputs, solution.outputs, strict=True):
        np.testing.assert_allclose(output, ours, rtol=1e-12)
    for gradient, ours in zip(pull_back(tuple(map(jnp.asarray, cotangents))), expected, strict=True):
        np.testing.assert_allclose(gradient, ours, rtol=1e-9)


def test_a_batch_has_its_own_slopes() -> None:
    """Slopes of logarithms and exponentials belong to each element; a shared parameter receives their sum."""
    x, a, b = cp.Variable(pos=True), cp.Parameter(pos=True, name="a"), cp.Parameter(pos=True, name="b")
    compiled = optlayers.compile(cp.Problem(cp.Minimize(a * x + b / x), [x >= 1e-3]), [a, b], [x], gp=True)
    a_values, b_value = np.array([1.0, 4.0, 9.0]), np.array(2.0)
    solution = compiled.solve(a_values, b_value)
    root = np.sqrt(b_value / a_values)  # x = sqrt(b / a)
    np.testing.assert_allclose(solution.outputs[0], root, rtol=1e-9)
    g_a, g_b = compiled.vjp(solution, np.array([1.0, 10.0, 100.0]))
    np.testing.assert_allclose(g_a, np.array([1.0, 10.0, 100.0]) * -root / (2 * a_values), rtol=1e-7)
    np.testing.assert_allclose(g_b, np.sum(np.array([1.0, 10.0, 100.0]) * root / (2 * b_value)), rtol=1e-7)
    (d_x,) = compiled.jvp(solution, np.ones((2, 3)), np.zeros(()))  # a leading axis of directions
    np.testing.assert_allclose(d_x, np.broadcast_to(-root / (2 * a_values), (2, 3)), rtol=1e-7)


ATOMS: dict[str, Callable[[], cp.Problem]] = {}


def case(build: Callable[[], cp.Problem]) -> Callable[[], cp.Problem]:
    ATOMS[build.__name__] = build
    return build


def of(shape: tuple[int, ...] = (), **attributes: object) -> tuple[cp.Variable, cp.Parameter]:
    """A positive variable, and a parameter of the same shape."""
    return cp.Variable(shape, pos=True, **attributes), cp.Parameter(shape, pos=True)


@case
def sums_and_products() -> cp.Problem:
    x, a = of((3,))
    objective = (
        cp.sum(cp.multiply(a, x))
        + cp.sum(1 / x)
        + cp.sum_squares(x)
        + cp.cumprod(x)[1]
        + cp.power(x[0], 3, approx=False)
    )
    return cp.Problem(cp.Minimize(objective), [x <= 5, cp.prod(x) <= 2, cp.geo_mean(x) >= a[0] / 9])


@case
def extremes_and_norms() -> cp.Problem:
    x, a = of((3,))
    norms = cp.pnorm(x, 3) + cp.pnorm(x, 2.5, approx=False)
    objective = cp.max(cp.multiply(a, x)) + norms + cp.exp(x[0]) + cp.xexp(x[1])
    return cp.Problem(cp.Minimize(objective), [cp.geo_mean(x, approx=False) >= 1, cp.min(x) >= 0.1, x[0] <= x[1] ** 2])


@case
def matrices() -> cp.Problem:
    X, a = of((2, 2))
    objective = (
        cp.trace(X @ a) + cp.sum(X @ X) + cp.sum(1 / X) + cp.quad_over_lin(X[0], X[1, 1]) + 1 / cp.harmonic_mean(X[0])
    )
    return cp.Problem(cp.Minimize(objective), [cp.maximum(X, a) <= 10 * cp.minimum(2, X[0, 0])])


def norm_1() -> cp.Problem:
    x, a = of((3,))
    return cp.Problem(cp.Minimize(cp.norm1(x)), [cp.prod(x) >= a[0]])


def quadratic_form() -> cp.Problem:
    x, a = of((2,))
    return cp.Problem(cp.Minimize(cp.quad_form(x, np.array([[2.0, 1.0], [1.0, 2.0]])) + a[0] / cp.prod(x)))


for build in (norm_1, quadratic_form):
    if build().is_dgp() and cp.QuadForm in CANON_METHODS:  # not before CVXPY 1.9.1
        case(build)


@case
def eigenvalue() -> cp.Problem:
    X, a = of((3, 3))
    return cp.Problem(cp.Minimize(cp.pf_eigenvalue(X)), [cp.prod(X[0]) == a[0, 0], X[1:] * X[0, 0] >= a[1:]])


@case
def resolvent() -> cp.Problem:
    X, a = of((2, 2))
    objective = cp.trace(cp.eye_minus_inv(X)) + cp.sum(1 / X)
    return cp.Problem(cp.Minimize(objective), [cp.multiply(X, a) <= 0.4])


@case
def differences() -> cp.Problem:
    x, a = of((2,))
    constraints = [
        cp.diff_pos(x[0] * x[1], 1) >= a[0],
        x <= 4,
        cp.one_minus_pos(x[0] / 5) >= 0.2,
        cp.log(x[0] + 1) <= 3,
    ]
    return cp.Problem(cp.Minimize(x[0] * x[1] ** 2 + a[1] / x[1]), constraints[:3])


@case
def logarithm() -> cp.Problem:
    x, a = of()
    return cp.Problem(cp.Maximize(cp.log(x) / x * a), [x >= 1.5, x <= 10])


@case
def products_of_powers() -> cp.Problem:
    x, a = of((3,))
    powers = cp.gmatmul(np.array([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]]), x)
    return cp.Problem(cp.Minimize(cp.sum(x) * a[0]), [powers == np.array([2.0, 3.0])])


@case
def bounds() -> cp.Problem:
    a, b = cp.Parameter(pos=True), cp.Parameter(pos=True)
    x, y = cp.Variable(2, pos=True, bounds=[a * b, None]), cp.Variable(pos=True, bounds=[0, 30])
    return cp.Problem(cp.Minimize(cp.sum(x) + 1 / y), [x * y >= b])


@case
def symmetric_matrices() -> cp.Problem:
    X = cp.Variable((3, 3), pos=True, symmetric=True)
    a = cp.Parameter((3, 3), pos=True, symmetric=True)
    return cp.Problem(cp.Minimize(cp.sum(X) + cp.trace(X)), [cp.multiply(X, a) >= 1])


@case
def functions_of_parameters() -> cp.Problem:
    x, y, a, b = *of(), *of()
    return cp.Problem(cp.Minimize(x + y + a**2 / x), [x * y >= a + b, a * b + b <= 50 * x])


@pytest.mark.parametrize("build", ATOMS.values(), ids=ATOMS)
def test_each_function_gives_cvxpy_s_value_variables_and_duals(build: Callable[[], cp.Problem]) -> None:
    problem = build()
    parameters, variables = problem.parameters(), problem.variables()
    parametric = compile_problem(problem, parameters, [*variables, *problem.constraints], gp=True)
    rng = np.random.default_rng(0)
    values = [np.exp(0.2 * rng.standard_normal(parameter.shape)) for parameter in parameters]
    values = [value @ value.T if value.ndim == 2 and value.shape[0] == 3 else value for value in values]
    theta = parametric.signature.pack(np, values)
    program = ConeProgram.from_data(parametric.structure, parametric.data.apply(theta))
    point = Clarabel(accuracy=1e-9).solve(program, None).point
    optimum = program.q @ point.x + parametric.constant.apply(theta)[0]
    assign(parameters, values)
    expected = solve_by_cvxpy(problem)
    sign = -1 if isinstance(problem.objective, cp.Maximize) else 1
    assert np.exp(sign * optimum) == pytest.approx(expected, rel=1e-7)
    outputs = parametric.signature.unpack(np, parametric.recovery.apply(np.concatenate([point.x, point.y])))
    values_of_cvxpy = [*(v.value for v in variables), *(constraint.dual_value for constraint in problem.constraints)]
    for output, theirs in zip(outputs, values_of_cvxpy, strict=True):
        np.testing.assert_allclose(output, theirs, rtol=1e-3, atol=1e-4)  # solutions may be flat


def test_every_function_of_geometric_programs_is_among_the_cases() -> None:
    seen = {atom.__name__ for build in ATOMS.values() for atom in build().atoms()}
    leaves = {"Constant", "Variable", "Parameter", "FiniteSet"}
    alike = {"norm1", "norm_inf", "quad_form"}  # sum and max of positive entries, a name of QuadForm; by version
    assert not {atom.__name__ for atom in CANON_METHODS} - seen - leaves - alike


def test_refusals_name_what_is_wrong() -> None:
    x, y, free = cp.Variable(pos=True, name="x"), cp.Variable(pos=True, name="y"), cp.Variable(name="free")
    a, e, unsigned = cp.Parameter(pos=True, name="a"), cp.Parameter(pos=True, name="e"), cp.Parameter(name="u")
    X = cp.Variable((2, 2), pos=True, PSD=True, name="X")

    def refused(error: type[ProblemError], problem: cp.Problem, *fragments: str) -> None:
        with pytest.raises(error) as caught:
            compile_problem(problem, problem.parameters(), problem.variables(), gp=True)
        assert caught.type is error
        for fragment in (*fragments, "next step: "):
            assert fragment in str(caught.value)

    minimize = partial(cp.Problem, cp.Minimize(a * x))
    refused(NotConvexError, minimize([x - y >= a]), "expression: -y\n", "constraints[0]", "cp.diff_pos")
    refused(NotConvexError, minimize([x + y == a]), "expression: x + y\n", "not log-log affine")
    refused(NotConvexError, minimize([x >= free]), "expression: free\n", "Variable(..., pos=True)")
    refused(NotConvexError, minimize([x * unsigned >= 1]), "expression: u\n", "Parameter(..., pos=True)")
    refused(NotConvexError, minimize([x >= -1]), "expression: -1.0\n", "not positive")
    refused(NotConvexError, minimize([cp.SOC(x, cp.hstack([y, a]))]), "constraints[0]", "equalities and inequalities")
    refused(NotConvexError, cp.Problem(cp.Maximize(x + a)), "the objective", "not log-log concave")
    refused(NotDPPError, minimize([(a * x) ** e <= y]), "expression: PowerApprox(a * x, ", "(a, e)")
    refused(NotDPPError, minimize([a**e * x <= y]), "expression: PowerApprox(a, ", "p_to_a")
    refused(NotConvexError, minimize([x <= (a + e) ** 2]), "expression: PowerApprox(a + e, 2.0)\n", "p_to_a")
    refused(UnsupportedError, cp.Problem(cp.Minimize(e * x**e), [x >= 1]), "parameter e is an exponent as well as")
    refused(UnsupportedError, cp.Problem(cp.Minimize(a * cp.trace(X))), "X", "PSD")
    refused(MixedIntegerError, cp.Problem(cp.Minimize(a * x * cp.Variable(pos=True, integer=True))), "integer")
    low = cp.Variable(pos=True, bounds=[-1, 3])
    refused(UnsupportedError, cp.Problem(cp.Minimize(a * low + 1 / low)), "bounds of variables must not be negative")
    problem, parameters, variables = box()
    with pytest.raises(NotConvexError, match="gp=True"):
        compile_problem(problem, parameters, variables)


def test_parameters_of_any_declared_range_need_no_value() -> None:
    x, a, e = cp.Variable(pos=True), cp.Parameter(pos=True, bounds=[2, 3]), cp.Parameter(nonpos=True)
    problem = cp.Problem(cp.Minimize(a * x + x**e), [x >= 1e-3])
    solution = optlayers.compile(problem, [a, e], [x], gp=True).solve(np.array(2.0), np.array(-2.0))
    np.testing.assert_allclose(solution.outputs[0], 1.0, rtol=1e-9)  # 2 = 2 / x^3
    assert a.value is None
    assert e.value is None


def test_other_parameters_keep_their_values() -> None:
    x, a, fixed, power = cp.Variable(pos=True), cp.Parameter(pos=True), cp.Parameter(pos=True), cp.Parameter()
    fixed.value, power.value = 2.0, 1.5
    problem = cp.Problem(cp.Minimize(x**power + a * fixed / x), [x >= 0.1])
    solution = optlayers.compile(problem, [a], [x], gp=True).solve(np.array(3.0))
    # 1.5 sqrt(x) = 6 / x^2
    np.testing.assert_allclose(solution.outputs[0], 4.0**0.4, rtol=1e-9)


@pytest.mark.parametrize("index", [0, 1])
def test_a_wrong_flag_is_caught(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    """A parameter taken for its logarithm or not is seen when CVXPY takes it as a constant of the geometric program."""

    def wrong(problem: cp.Problem, parameters: list[cp.Parameter]) -> Any:
        form = original(problem, parameters)
        flags = list(form.logarithmic)
        flags[index] = not flags[index]
        return dataclasses.replace(form, logarithmic=tuple(flags))

    original = compile_module.of_geometric
    monkeypatch.setattr(compile_module, "of_geometric", wrong)
    x, a, e = cp.Variable(pos=True), cp.Parameter(pos=True), cp.Parameter(pos=True)
    with pytest.raises(VerificationError):
        compile_problem(cp.Problem(cp.Minimize(a * x**e + 1 / x)), [a, e], [x], gp=True)


@pytest.mark.parametrize("function", [lambda x: cp.sum(cp.diag(x)), lambda x: cp.quad_form(x, np.ones((3, 3)))])
def test_a_wrong_logarithm_of_cvxpy_is_caught(
    monkeypatch: pytest.MonkeyPatch, function: Callable[[cp.Variable], cp.Expression]
) -> None:
    """CVXPY leaves what it has no rule for as it is: zeros off a diagonal, for one, become logarithms."""
    monkeypatch.delitem(CANON_METHODS, cp.QuadForm, raising=False)
    x, a = cp.Variable(3, pos=True), cp.Parameter(pos=True)
    problem = cp.Problem(cp.Minimize(function(x) + a * cp.sum(1 / x)))
    with pytest.raises(VerificationError, match="takes a wrong logarithm of"):
        compile_problem(problem, [a], [x], gp=True)
    assert x.value is None
    assert a.value is None
