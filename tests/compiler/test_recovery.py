"""Variables and dual variables of every kind, recovered from CVXPY's own solution of the cone program."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp

from optlayers.compiler import Request, compile_problem
from optlayers.errors import ProblemError, UnsupportedError

TOLERANCE = 1e-12
"""Relative: the map multiplies each entry by 1, -1, or a power of sqrt(2)."""

Build = Callable[[cp.Parameter], cp.Problem]

CASES: dict[str, Build] = {}


def case(build: Build) -> Build:
    CASES[build.__name__] = build
    return build


@case
def linear(c: cp.Parameter) -> cp.Problem:
    x, X = cp.Variable(), cp.Variable((3, 3))
    constraints = [c - 3 <= X, c.T + 3 >= X, cp.sum(X) == 3, X[0] == x, x <= 5, cp.NonNeg(X + 9), cp.Zero(X[1, 1] - 1)]
    return cp.Problem(cp.Maximize(cp.sum(X[0]) - cp.sum_squares(X) - x**2), constraints)


@case
def norms(c: cp.Parameter) -> cp.Problem:
    x, X = cp.Variable(), cp.Variable((3, 3))
    constraints = [cp.norm(X[0] - c[0]) <= x, cp.norm1(X) <= 4, cp.max(X, axis=0) <= 1, cp.exp(X[1]) <= 2]
    return cp.Problem(cp.Minimize(cp.sum_squares(X - c) + x), constraints)


@case
def second_order(c: cp.Parameter) -> cp.Problem:
    t, T, X = cp.Variable(), cp.Variable((3, 1)), cp.Variable((3, 3))
    constraints = [cp.SOC(t, X[0] - c[0]), cp.SOC(cp.vec(T, order="F"), X), cp.SOC(T[:2, 0] + 1, X[:, :2].T, axis=1)]
    return cp.Problem(cp.Minimize(t + cp.sum(T) + cp.sum_squares(X - c)), constraints)


@case
def semidefinite(c: cp.Parameter) -> cp.Problem:
    X, Y = cp.Variable((3, 3), symmetric=True), cp.Variable((3, 3))
    constraints = [X >> 0, X << 2 * np.eye(3), X >> c + c.T - 3 * np.eye(3), cp.PSD(Y - np.eye(3)), Y[0, 1] == Y[1, 0]]
    return cp.Problem(cp.Minimize(cp.sum_squares(X - 3 * c) + cp.sum_squares(Y - c)), constraints)


@case
def batch_of_semidefinite(c: cp.Parameter) -> cp.Problem:
    X = cp.Variable((2, 3, 3))
    return cp.Problem(cp.Minimize(cp.sum_squares(X[0] - c) + cp.sum_squares(X[1] - c.T)), [cp.PSD(X)])


@case
def exponential(c: cp.Parameter) -> cp.Problem:
    t, X, Y, Z = cp.Variable(), cp.Variable((3, 3)), cp.Variable((3, 3)), cp.Variable((3, 3))
    constraints = [cp.ExpCone(t, Y[0, 0], Z[0, 0]), cp.ExpCone(X, Y, Z), cp.ExpCone(X[0], Y[1], Z[0] + 2)]
    fit = cp.sum_squares(X - c) + cp.sum_squares(Y - 1) + cp.sum_squares(Z) + cp.square(t - 1)
    return cp.Problem(cp.Minimize(fit), constraints)


@case
def power(c: cp.Parameter) -> cp.Problem:
    s, X, Y, Z = cp.Variable(3), cp.Variable((2, 2)), cp.Variable((2, 2)), cp.Variable((2, 2))
    exponents = np.array([[0.2, 0.3], [0.5, 0.6]])
    constraints = [cp.PowCone3D(X, Y, Z, exponents), cp.PowCone3D(s[0], s[1], s[2], 0.4)]
    fit = cp.sum_squares(X - c[:2, :2]) + cp.sum_squares(Y) + cp.sum_squares(Z - 2) + cp.sum_squares(s - c[0])
    return cp.Problem(cp.Minimize(fit), constraints)


@case
def power_of_many(c: cp.Parameter) -> cp.Problem:
    W, z = cp.Variable((3, 2)), cp.Variable(2)
    cone = cp.PowConeND(W, z, np.array([[0.2, 0.5], [0.3, 0.25], [0.5, 0.25]]))
    return cp.Problem(cp.Minimize(cp.sum_squares(W - c[:, :2]) + cp.sum_squares(z - 2)), [cone])


@case
def power_of_many_by_rows(c: cp.Parameter) -> cp.Problem:
    W, z = cp.Variable((2, 3)), cp.Variable(2)
    cone = cp.PowConeND(W, z, np.array([[0.2, 0.3, 0.5], [0.5, 0.25, 0.25]]), axis=1)
    return cp.Problem(cp.Minimize(cp.sum_squares(W - c[:2]) + cp.sum_squares(z - 2)), [cone])


@case
def structured(c: cp.Parameter) -> cp.Problem:
    names = ("symmetric", "PSD", "NSD", "diag")
    S, P, N, D = (cp.Variable((3, 3), **{name: True}) for name in names)
    E = cp.Variable((3, 3), sparsity=([0, 1, 2], [2, 0, 2]))
    fit = sum(cp.sum_squares(X - c) for X in (S, P, N, E)) + cp.sum_squares(cp.diag(D) - c[1])
    return cp.Problem(cp.Minimize(fit), [S + P + N >= -1, cp.diag(D) <= 0.2, cp.lambda_max(S) <= 1])


@case
def bounded(c: cp.Parameter) -> cp.Problem:
    x, y = cp.Variable(3, nonneg=True), cp.Variable(3, bounds=[c[0], 1])
    return cp.Problem(cp.Minimize(cp.sum_squares(x - c[0]) + cp.sum_squares(x - y)), [cp.norm(x + y) <= 1])


@case
def complex_inside(c: cp.Parameter) -> cp.Problem:
    z, H, re, im = cp.Variable(3, complex=True), cp.Variable((3, 3), hermitian=True), cp.Variable(3), cp.Variable(3)
    constraints = [re == cp.real(z), cp.imag(z) == im, cp.abs(z) <= 2, cp.real(cp.trace(H)) <= 1, cp.lambda_max(H) <= 2]
    fit = cp.sum_squares(re - c[0]) + cp.sum_squares(im - c[1]) + cp.norm(z - 1j * c[2]) + cp.sum_squares(H - c)
    return cp.Problem(cp.Minimize(fit), constraints)


@pytest.mark.filterwarnings("ignore:.*SCIPY backend:UserWarning")
@pytest.mark.parametrize("build", CASES.values(), ids=CASES)
def test_values_and_shapes_are_those_of_cvxpy(build: Build) -> None:
    c = cp.Parameter((3, 3))
    problem = build(c)
    requests: list[Request] = [variable for variable in problem.variables() if not variable.is_complex()]
    requests += [dual for constraint in problem.constraints for dual in constraint.dual_variables]
    parametric = compile_problem(problem, [c], requests)
    c.value = np.random.default_rng(0).standard_normal((3, 3))
    with warnings.catch_warnings(action="ignore"):  # the point need not be a good one
        data, chain, inverse = problem.get_problem_data(cp.CLARABEL, solver_opts={})
        clarabel = chain.solve_via_data(problem, data)
        problem.unpack_results(clarabel, chain, inverse)
    point = np.concatenate([clarabel.x, clarabel.z])  # its rows are in the order of ours
    outputs = parametric.signature.unpack(np, parametric.recovery.apply(point))
    for output, request in zip(outputs, requests, strict=True):
        assert output.shape == request.shape
        value = request.value_sparse if request.sparse_idx is not None else request.value
        expected = np.asarray(value.toarray() if sp.issparse(value) else value)
        assert np.abs(expected).max() > 0
        if _is_projected(request):  # CVXPY projects such values on their sets, which an interior-point method misses
            np.testing.assert_allclose(output, np.reshape(expected, output.shape), atol=1e-4)
        else:
            np.testing.assert_allclose(output, np.reshape(expected, output.shape), rtol=TOLERANCE, atol=TOLERANCE)


def _is_projected(variable: cp.Variable) -> bool:
    return any(variable.attributes[name] for name in ("PSD", "NSD", "nonneg"))


def test_a_constraint_stands_for_its_only_dual_variable() -> None:
    c = cp.Parameter((3, 3))
    problem = semidefinite(c)
    by_constraint = compile_problem(problem, [c], problem.constraints)
    by_variable = compile_problem(problem, [c], [constraint.dual_variables[0] for constraint in problem.constraints])
    np.testing.assert_array_equal(by_constraint.recovery.matrix.toarray(), by_variable.recovery.matrix.toarray())
    assert by_constraint.signature.outputs == by_variable.signature.outputs


@pytest.mark.parametrize("build", [second_order, exponential, power, power_of_many])
def test_a_constraint_of_several_dual_variables_is_asked_for_by_part(build: Build) -> None:
    c = cp.Parameter((3, 3))
    problem = build(c)
    with pytest.raises(ProblemError, match=r"constraints\[0\] has [23] dual variables.*dual_variables\[0\]"):
        compile_problem(problem, [c], [problem.constraints[0]])
    parts = problem.constraints[0].dual_variables
    outputs = compile_problem(problem, [c], parts).signature.outputs
    assert [output.name for output in outputs] == [f"dual of constraints[0], part {part}" for part in range(len(parts))]


def test_dual_values_of_the_user_are_not_touched() -> None:
    c = cp.Parameter((3, 3), value=np.eye(3))
    problem = second_order(c)
    duals = [dual for constraint in problem.constraints for dual in constraint.dual_variables]
    problem.solve(solver=cp.CLARABEL)
    before = [np.copy(dual.value) for dual in duals]
    compile_problem(problem, [c], duals)
    for dual, value in zip(duals, before, strict=True):
        np.testing.assert_array_equal(dual.value, value)


def test_a_constraint_without_dual_values_is_refused_by_name() -> None:
    x, y, c = cp.Variable(3, pos=True), cp.Variable(3, pos=True), cp.Parameter(3)
    cone = cp.RelEntrConeQuad(x, y, cp.Variable(3), 3, 3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c) + cp.sum_squares(y - c)), [cone])
    with pytest.raises(UnsupportedError, match=r"RelEntrConeQuad\(.*CVXPY gives none for constraints of this kind"):
        compile_problem(problem, [c], [cone.dual_variables[0]])


def test_an_empty_constraint_has_an_empty_dual_variable() -> None:
    x, c = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [x[:0] >= 0, x <= 1])
    parametric = compile_problem(problem, [c], problem.constraints)
    assert [output.shape for output in parametric.signature.outputs] == [(0,), (3,)]
