"""The compiled maps: complete, verified, and what CVXPY says they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from problems import FAMILIES, Family

import optlayers
import optlayers.compiler.compile as compile_module
import optlayers.compiler.neutral as neutral
from optlayers.compiler import compile_problem
from optlayers.errors import ProblemError, VerificationError
from optlayers.program import AffineMap


def bounded_problem() -> tuple[cp.Problem, list[cp.Parameter], list[Any]]:
    x, c = cp.Variable(3, nonneg=True), cp.Parameter(3)
    limit = x <= 2
    return cp.Problem(cp.Minimize(cp.sum_squares(x - c) + 7), [limit, cp.sum(x) == 1]), [c], [x, limit]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("backend", ["CPP", "SCIPY"])
def test_every_backend_of_cvxpy_compiles_the_same(family: Family, backend: str) -> None:
    instance = family.build(np.random.default_rng(0), family.size)
    theta = np.concatenate([value.ravel() for value in instance.values])
    default = compile_problem(instance.problem, instance.parameters, instance.outputs)
    other = compile_problem(instance.problem, instance.parameters, instance.outputs, backend)
    np.testing.assert_allclose(other.data.apply(theta), default.data.apply(theta), rtol=1e-12, atol=1e-14)


def test_compiling_leaves_the_problem_as_it_was() -> None:
    problem, (c,), outputs = bounded_problem()
    c.value = np.array([1.0, 2.0, 3.0])
    compile_problem(problem, [c], outputs)
    np.testing.assert_array_equal(c.value, [1.0, 2.0, 3.0])
    assert outputs[0].value is None
    assert problem.solve(solver=cp.CLARABEL) == pytest.approx(7 + 1 + 4 + 4)  # the nearest point is (0, 0, 1)


def test_a_large_sparse_problem_compiles_and_solves() -> None:
    """Nothing may be of size n^2: here n = 40,000."""
    x, z = cp.Variable(20_000), cp.Parameter(20_000)
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(x - z)), [x >= 0]), [z], [x])
    value = np.random.default_rng(0).standard_normal(20_000)
    solution = compiled.solve(value)
    np.testing.assert_allclose(solution.outputs[0], np.maximum(value, 0), atol=1e-9)
    np.testing.assert_allclose(compiled.vjp(solution, np.ones(20_000))[0], value > 0, atol=1e-9)


def test_a_large_semidefinite_parameter_compiles() -> None:
    y, P, q = cp.Variable(120), cp.Parameter((120, 120), PSD=True), cp.Parameter(120)
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.quad_form(y, P) / 2 - q @ y)), [P, q], [y])
    np.testing.assert_allclose(compiled.solve(2 * np.eye(120), np.ones(120)).outputs[0], 0.5, atol=1e-12)


def test_the_constant_of_the_objective_is_kept() -> None:
    parametric = compile_problem(*bounded_problem())
    assert parametric.constant.apply(np.zeros(3)) == pytest.approx(7)


def test_bounds_are_rows_of_the_program() -> None:
    """x >= 0 as an attribute, in CVXPY's own words a bound that solvers may take aside."""
    compiled = optlayers.compile(*bounded_problem())
    solution = compiled.solve(np.array([5.0, -1.0, 0.2]))
    np.testing.assert_allclose(solution.outputs[0], [1.0, 0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("entry", [0, -1])
def test_a_wrong_data_map_is_caught(monkeypatch: pytest.MonkeyPatch, entry: int) -> None:
    def wrong(*arguments: Any) -> Any:
        structure, data, constant = original(*arguments)
        offset = data.offset.copy()
        offset[entry] += 1e-6
        return structure, AffineMap(data.matrix, offset), constant

    original = compile_module.compile_data
    monkeypatch.setattr(compile_module, "compile_data", wrong)
    with pytest.raises(VerificationError, match=rf"does not reproduce CVXPY's own data.*{cp.__version__}"):
        compile_problem(*bounded_problem())


@pytest.mark.parametrize("output", [0, 1])
def test_a_wrong_recovery_map_is_caught(monkeypatch: pytest.MonkeyPatch, output: int) -> None:
    def wrong(*arguments: Any) -> AffineMap:
        recovery = original(*arguments)
        matrix = recovery.matrix.tolil()
        matrix[3 * output] *= -1
        return AffineMap(matrix.tocsr(), recovery.offset)

    original = compile_module.compile_recovery
    monkeypatch.setattr(compile_module, "compile_recovery", wrong)
    with pytest.raises(VerificationError, match="variable" if output == 0 else "dual"):
        compile_problem(*bounded_problem())


@pytest.mark.parametrize("name", ["dir_cones", "lower_bounds", "something_new"])
def test_a_part_of_the_problem_put_elsewhere_is_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def elsewhere(self: Any, problem: Any) -> Any:
        program, inverse = original(self, problem)
        setattr(program, name, [1.0])
        return program, inverse

    original = neutral._Neutral.apply
    monkeypatch.setattr(neutral._Neutral, "apply", elsewhere)
    with pytest.raises(VerificationError, match=rf"CVXPY {cp.__version__} put part of the problem.*{name}"):
        compile_problem(*bounded_problem())


def test_what_is_not_a_problem_or_an_output() -> None:
    x, c = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)))
    parametric = compile_problem(problem, [c], [])
    assert parametric.signature.k == 0
    assert dataclasses.is_dataclass(parametric)
    with pytest.raises(ProblemError, match="not a variable of the problem"):
        compile_problem(problem, [c], [cp.Variable(2, name="other")])


def test_dual_variables_may_be_named_by_the_constraint_or_by_themselves() -> None:
    problem, parameters, (_, limit) = bounded_problem()
    by_constraint = optlayers.compile(problem, parameters, [limit]).solve(np.array([9.0, 0.0, 0.0]))
    by_itself = optlayers.compile(problem, parameters, [limit.dual_variables[0]]).solve(np.array([9.0, 0.0, 0.0]))
    np.testing.assert_array_equal(by_constraint.outputs[0], by_itself.outputs[0])


def test_matrix_constraints_and_variables_come_back_in_shape() -> None:
    X, C = cp.Variable((2, 3)), cp.Parameter((2, 3))
    upper = np.arange(6.0).reshape(2, 3) >= X
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - C)), [upper])
    solution = optlayers.compile(problem, [C], [X, upper]).solve(np.full((2, 3), 2.5))
    expected = np.minimum(2.5, np.arange(6.0).reshape(2, 3))
    np.testing.assert_allclose(solution.outputs[0], expected, atol=1e-12)
    np.testing.assert_allclose(solution.outputs[1], 2 * (2.5 - expected), atol=1e-12)
