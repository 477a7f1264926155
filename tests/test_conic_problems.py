"""What is said of the conic families, checked by CVXPY and its solvers alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from conic_problems import CONIC_FAMILIES, ConicFamily
from oracles import flatten, random_directions
from problems import Instance, assign

pytestmark = pytest.mark.filterwarnings("ignore:Solution may be inaccurate", "ignore:Converting ")

CLARABEL = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-11)
SCS = {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 100_000}
AGREEMENT = 1e-5
"""The solvers stop by the duality gap, whose square root is the error: 3e-6 for Clarabel; SCS reaches the same."""

MARGIN = 0.02
"""Least distance of a regular instance from every kink, the largest slack and the largest multiplier being one."""

STEPS = (2e-3, 1e-3)
SMOOTH = 1e-2
"""Two central differences differ by the third derivative times 3e-6, and by the solver's error over the step, 3e-3."""

NUDGE = 1e-6
"""Weight of a linear cost that chooses among several solutions; it moves a unique one by as little."""

PAIRS = 3
"""Pairs of random directions."""

SLOPE = 1e-3
"""Slopes beneath this are the solver's error over the step."""

LINEAR, KINKED = 1e-2, 5e-2
"""Nonlinearity of a slope: at most the second derivative times the step, or a part of the slope itself."""

VANISHING = {"relative_entropy"}
"""x is differentiable, but has an entry beneath all resolution, so that a report is due nevertheless."""

UNIQUE, SEVERAL = 1e-3, 1e-1
"""How far two nudged solutions may be apart, and must be; Clarabel ends up to 5e-4 away at the apex of a power cone."""

families = pytest.mark.parametrize("each", CONIC_FAMILIES, ids=lambda each: each.family.name)


@cache
def regular(each: ConicFamily) -> Instance:
    return each.family.build(np.random.default_rng(0), each.family.size)


def degenerate(each: ConicFamily) -> Instance:
    instance = regular(each)
    values = each.degenerate(np.random.default_rng(0), each.family.size)
    return Instance(instance.problem, instance.parameters, instance.outputs, values, instance.gp)


def solve(instance: Instance, values: Sequence[np.ndarray], solver: str = cp.CLARABEL, problem: Any = None) -> None:
    assign(instance, tuple(values))
    problem = problem or instance.problem
    problem.solve(solver=solver, gp=instance.gp, **(SCS if solver == cp.SCS else CLARABEL))
    if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise cp.SolverError(problem.status)


def outputs(instance: Instance) -> np.ndarray:
    return flatten([o.dual_value if isinstance(o, cp.Constraint) else o.value for o in instance.outputs])


def variables(instance: Instance) -> list[cp.Variable]:
    """The outputs that are variables of the problem, not of its dual."""
    known = {variable.id for variable in instance.problem.variables()}
    return [output for output in instance.outputs if isinstance(output, cp.Variable) and output.id in known]


def primal(instance: Instance) -> np.ndarray:
    return flatten([variable.value for variable in variables(instance)])


def cone_data(instance: Instance) -> tuple[dict[str, Any], Any]:
    """CVXPY's own data for Clarabel, and Clarabel's own solution."""
    assign(instance, instance.values)
    data, chain, _ = instance.problem.get_problem_data(cp.CLARABEL, gp=instance.gp, enforce_dpp=True)
    return data, chain.solve_via_data(instance.problem, data, solver_opts=CLARABEL)


@families
def test_the_cones_that_cvxpy_makes(each: ConicFamily) -> None:
    data, _ = cone_data(regular(each))
    dims = data["dims"]
    counts = {
        "SecondOrder": len(dims.soc),
        "Semidefinite": len(dims.psd),
        "Exponential": dims.exp,
        "Power": len(dims.p3d) + len(dims.pnd),
    }
    assert {name for name, count in counts.items() if count} == each.cones


def test_all_cones_are_in_one_problem() -> None:
    (each,) = (each for each in CONIC_FAMILIES if each.family.name == "all_cones")
    dims = cone_data(regular(each))[0]["dims"]
    assert all((dims.zero, dims.nonneg, dims.soc, dims.psd, dims.exp, dims.p3d, dims.pnd))


def margins(dims: Any, s: np.ndarray, y: np.ndarray) -> Iterator[float]:
    """For each cone the distance of v = y - s from the kinks of the projection; s and y in the order of Clarabel."""
    s, y = s[dims.zero :], y[dims.zero :]
    s, y = s / np.abs(s).max(), y / np.abs(y).max()
    yield from np.maximum(s, y)[: dims.nonneg]
    orders = [order * (order + 1) // 2 for order in dims.psd]
    sizes = [*dims.soc, *orders, *([3] * dims.exp), *([3] * len(dims.p3d)), *(len(each) + 1 for each in dims.pnd)]
    stops = dims.nonneg + np.cumsum(sizes)
    assert dims.nonneg + sum(sizes) == len(s)
    for index, (size, stop) in enumerate(zip(sizes, stops, strict=True)):
        slack, multiplier = s[stop - size : stop], y[stop - size : stop]
        v = multiplier - slack
        if index < len(dims.soc):
            yield min(abs(abs(v[0]) - np.linalg.norm(v[1:])), float(np.linalg.norm(v)))
        elif index < len(dims.soc) + len(dims.psd):
            yield float(np.abs(np.linalg.eigvalsh(symmetric(v))).min())
        else:
            yield min(float(np.linalg.norm(slack)), float(np.linalg.norm(multiplier)))


def symmetric(v: np.ndarray) -> np.ndarray:
    """The matrix with the upper triangle v by columns, entries off the diagonal times sqrt(2)."""
    order = int(np.sqrt(2 * len(v)))
    columns, rows = np.tril_indices(order)
    matrix = np.zeros((order, order))
    matrix[rows, columns] = v / np.where(rows == columns, 1, np.sqrt(2))
    return np.asarray(matrix + np.triu(matrix, 1).T)


@families
def test_regular_instances_are_off_the_kinks(each: ConicFamily) -> None:
    data, solution = cone_data(regular(each))
    assert min(margins(data["dims"], np.array(solution.s), np.array(solution.z))) >= MARGIN


@families
def test_regular_instances_have_one_solution_that_is_smooth(each: ConicFamily) -> None:
    instance = regular(each)
    solve(instance, instance.values, cp.SCS)
    by_scs = outputs(instance)
    solve(instance, instance.values)
    np.testing.assert_allclose(outputs(instance), by_scs, rtol=0, atol=AGREEMENT * max(1, np.abs(by_scs).max()))
    direction = random_directions(instance, np.random.default_rng(1))
    long, short = (central_difference(instance, direction, step) for step in STEPS)
    np.testing.assert_allclose(long, short, rtol=0, atol=SMOOTH * np.abs(short).max())


def central_difference(instance: Instance, direction: Sequence[np.ndarray], step: float) -> np.ndarray:
    ends = []
    for h in (step, -step):
        solve(instance, [value + h * d for value, d in zip(instance.values, direction, strict=True)])
        ends.append(outputs(instance))
    return np.asarray((ends[0] - ends[1]) / (2 * step))


def nudged(instance: Instance, seed: int) -> cp.Problem:
    """The problem with a small random linear cost, linear in the logarithm of a geometric program."""
    rng = np.random.default_rng(seed)
    cost = instance.problem.objective.args[0]
    for variable in variables(instance):
        weights = NUDGE * rng.standard_normal(variable.shape)
        if instance.gp:
            for index in np.ndindex(variable.shape):
                cost = cost * (variable[index] if index else variable) ** float(weights[index])
        else:
            cost = cost + cp.sum(cp.multiply(weights, variable))
    return cp.Problem(type(instance.problem.objective)(cost), instance.problem.constraints)


@families
def test_degenerate_solutions_are_unique_or_not(each: ConicFamily) -> None:
    instance = degenerate(each)
    ends = []
    for seed in range(3):
        solve(instance, instance.values, problem=nudged(instance, seed))
        ends.append(primal(instance))
    spread = max(np.abs(end - ends[0]).max() for end in ends)
    assert spread <= UNIQUE if each.unique else spread >= SEVERAL


@families
def test_degenerate_solutions_are_differentiable_or_not(each: ConicFamily) -> None:
    fault = nonlinearity(degenerate(each))
    if each.differentiable or each.family.name in VANISHING:
        assert fault <= LINEAR
    else:
        assert fault >= KINKED


def nonlinearity(instance: Instance) -> float:
    """The largest of x'(d) + x'(-d) and x'(d) + x'(e) - x'(d + e) relative to x'; infinite if no solution is left."""
    solve(instance, instance.values)
    start = primal(instance)

    def slope(direction: Sequence[np.ndarray]) -> np.ndarray:
        step = min(STEPS)
        solve(instance, [value + step * part for value, part in zip(instance.values, direction, strict=True)])
        return np.asarray((primal(instance) - start) / step)

    rng = np.random.default_rng(3)
    faults = []
    for _ in range(PAIRS):
        d, e = (domain_direction(instance, rng) for _ in range(2))
        try:
            along, back, other = slope(d), slope([-part for part in d]), slope(e)
            together = slope([part + more for part, more in zip(d, e, strict=True)])
        except cp.SolverError:
            return float(np.inf)
        size = max(np.abs(along).max(), np.abs(other).max(), SLOPE)
        faults.append(max(np.abs(along + back).max(), np.abs(along + other - together).max()) / size)
    return float(max(faults))


def domain_direction(instance: Instance, rng: np.random.Generator) -> list[np.ndarray]:
    """A random direction, relative to the value where the parameter has a sign."""
    directions = random_directions(instance, rng)
    return [
        direction * value if parameter.attributes["nonneg"] or parameter.attributes["pos"] else direction
        for parameter, value, direction in zip(instance.parameters, instance.values, directions, strict=True)
    ]
