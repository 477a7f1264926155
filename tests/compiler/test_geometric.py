"""Geometric programs, against CVXPY's own solve and central differences."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

import optlayers
from optlayers.compiler import compile_problem
from optlayers.errors import ArgumentError, NotConvexError, NotDPPError, UnsupportedError

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


def test_the_solution_is_cvxpy_s() -> None:
    problem, parameters, variables = box()
    solution = optlayers.compile(problem, parameters, variables, gp=True).solve(*VALUES)
    assert solution.reports[0].residual <= 1e-9
    for parameter, value in zip(parameters, VALUES, strict=True):
        parameter.value = float(value)
    problem.solve(gp=True, solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    for output, variable in zip(solution.outputs, variables, strict=True):
        np.testing.assert_allclose(output, variable.value, rtol=3e-6)


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


def test_refusals_name_what_is_wrong() -> None:
    problem, parameters, variables = box()
    with pytest.raises(UnsupportedError, match=r"dual of constraints\[1\] is asked for"):
        compile_problem(problem, parameters, [problem.constraints[1]], gp=True)
    x, y = variables[:2]
    wall = parameters[0]
    with pytest.raises(
        NotConvexError, match=r"constraints\[0\], .* does not follow the rules of disciplined geometric"
    ):
        compile_problem(cp.Problem(cp.Minimize(x), [x - y >= wall]), [wall], [x], gp=True)
    exponent = cp.Parameter(pos=True, name="e")
    with pytest.raises(UnsupportedError, match="parameter 'e' is an exponent as well as a factor"):
        compile_problem(cp.Problem(cp.Minimize(exponent * x**exponent), [x >= 1]), [exponent], [x], gp=True)
    with pytest.raises(NotDPPError, match=r"the objective.* is log-log convex, but"):
        compile_problem(
            cp.Problem(cp.Minimize((wall * x) ** exponent * y), [x >= 1, y >= 1]), [wall, exponent], [x], gp=True
        )
    with pytest.raises(NotConvexError, match="gp=True"):
        compile_problem(problem, parameters, variables)
