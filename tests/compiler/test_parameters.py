"""Parameters that keep their values, wherever they stand; what CVXPY cannot compile is refused as such."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest

from optlayers.compiler import compile_problem
from optlayers.compiler.parameters import replace_by_constants
from optlayers.cones import Power
from optlayers.errors import NotDPPError, UnsupportedError

Value = cp.Parameter | float | np.ndarray

BUILDS: dict[str, tuple[Callable[[cp.Variable, cp.Parameter, Value], cp.Problem], float | np.ndarray]] = {
    "the exponent of a power cone": (
        lambda x, c, a: cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cp.PowCone3D(x[0], x[1], x[2], a)]),
        0.3,
    ),
    "the exponents of a power cone": (
        lambda x, c, a: cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cp.PowConeND(x[:2], x[2], a)]),
        np.array([0.3, 0.7]),
    ),
    "the threshold of a Huber function": (
        lambda x, c, a: cp.Problem(cp.Minimize(cp.sum(cp.huber(x - c, a)) + cp.norm(x))),
        0.4,
    ),
    "a factor of a factor": (
        lambda x, c, a: cp.Problem(cp.Minimize(cp.norm(a * cp.multiply(c, x)) + cp.sum_squares(x)), [x >= a**2]),
        0.5,
    ),
    "a function of it alone": (
        lambda x, c, a: cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cp.norm(x) <= cp.log(a) + cp.exp(-a) + 1]),
        2.0,
    ),
}


@pytest.mark.parametrize(("build", "value"), BUILDS.values(), ids=BUILDS)
def test_a_parameter_that_is_not_listed_counts_as_its_value(
    build: Callable[[cp.Variable, cp.Parameter, Value], cp.Problem], value: float | np.ndarray
) -> None:
    x, c = cp.Variable(3), cp.Parameter(3)
    a = cp.Parameter(np.shape(value), nonneg=True, value=value)
    by_parameter = compile_problem(build(x, c, a), [c], [x])
    by_number = compile_problem(build(x, c, value), [c], [x])
    theta = np.random.default_rng(0).standard_normal(3)
    assert by_parameter.structure.cones == by_number.structure.cones
    np.testing.assert_allclose(by_parameter.data.apply(theta), by_number.data.apply(theta), rtol=1e-15)


@pytest.mark.parametrize("many", [False, True])
def test_the_exponent_of_a_power_cone_is_no_argument(many: bool) -> None:
    x, c = cp.Variable(3), cp.Parameter(3)
    value = np.array([0.25, 0.75]) if many else np.array(0.25)
    a = cp.Parameter(value.shape, nonneg=True, name="a", value=value)
    cone = cp.PowConeND(x[:2], x[2], a) if many else cp.PowCone3D(x[0], x[1], x[2], a)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cone])
    with pytest.raises(NotDPPError, match=r"constraints\[0\].*exponent of a power cone"):
        compile_problem(problem, [c, a], [x])
    assert compile_problem(problem, [c], [x]).structure.cones.factors[-1] == Power((0.25, 0.75))


def test_only_what_holds_a_parameter_is_copied() -> None:
    x, a = cp.Variable(3), cp.Parameter(nonneg=True)
    constraints = [
        cp.norm(x) <= a,
        cp.SOC(x[0] + a, x),
        cp.ExpCone(x[0], x[1] + a, x[2]),
        cp.PowCone3D(x[0], x[1], x[2] + a, 0.3),
        cp.PowConeND(x[:2] + a, x[2], np.array([0.3, 0.7])),
        a * np.eye(3) >> cp.diag(x),
        cp.sum(x) == a,
        cp.exp(x) <= 3,
    ]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x)), constraints)
    replaced = replace_by_constants(problem, [a], [2.0])
    assert replaced.parameters() == []
    assert replaced.objective is problem.objective
    assert replaced.constraints[-1] is problem.constraints[-1]
    assert [constraint.id for constraint in replaced.constraints] == [constraint.id for constraint in constraints]
    assert [type(constraint) for constraint in replaced.constraints] == [type(constraint) for constraint in constraints]
    assert problem.parameters() == [a]


def test_what_cvxpy_itself_cannot_compile_is_refused_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    x, c = cp.Variable(3), cp.Parameter(3)
    X, Y, Z = (cp.Variable((2, 2), symmetric=True) for _ in range(3))
    objective = cp.Minimize(cp.sum_squares(x - c) + cp.sum_squares(X) + cp.sum_squares(Y) + cp.sum_squares(Z))
    with pytest.raises(UnsupportedError, match="cannot bring the problem to linear, second-order"):
        compile_problem(cp.Problem(objective, [cp.OpRelEntrConeQuad(X, Y, Z, 2, 2)]), [c], [x])

    def stop(*arguments: object, **options: object) -> None:
        raise ValueError("shapes do not match")

    monkeypatch.setattr(cp.Problem, "get_problem_data", stop)
    with pytest.raises(UnsupportedError, match="does not compile the problem, but stops with ValueError: shapes"):
        compile_problem(cp.Problem(cp.Minimize(cp.norm(x - c))), [c], [x])


def test_equal_parts_and_equal_values_do_not_mislead_the_verification() -> None:
    """CVXPY shares the cones of equal expressions, and of constants with equal values."""
    x = cp.Variable(3)
    weights = [cp.Parameter(nonneg=True) for _ in range(6)]
    bounds = ([0, 1], [0, None], [None, 0], [-1, 1])
    centres = [cp.Parameter(3, bounds=bound) for bound in bounds]
    centres += [cp.Parameter(3, boolean=True), cp.Parameter(3, integer=True)]
    parts = [weight + cp.norm(x - centre) for weight, centre in zip(weights, centres, strict=True)]
    problem = cp.Problem(cp.Minimize(sum(parts)), [part <= 9 for part in parts])
    parametric = compile_problem(problem, weights + centres, [x])
    assert len(parametric.structure.cones.factors) >= 7
