"""Conic families: the cones that arise, degenerate instances, other derivations, and who refuses."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from conic_problems import CONIC_FAMILIES, ConicFamily
from oracles import central_difference, flatten, random_directions, unchecked
from problems import FAMILIES, Family

import optlayers
from optlayers.errors import OptionError, SingularWarning, Status

SOLVERS = ("SCS", "CLARABEL")

conic = pytest.mark.parametrize("each", CONIC_FAMILIES, ids=lambda each: each.family.name)


def test_there_are_many_and_each_cone_is_among_them() -> None:
    assert len({each.family.name for each in CONIC_FAMILIES}) >= 20
    assert frozenset().union(*(each.cones for each in CONIC_FAMILIES)) == {
        "SecondOrder",
        "Semidefinite",
        "Exponential",
        "Power",
    }


@conic
def test_the_cones_that_arise(each: ConicFamily) -> None:
    instance = each.family.build(np.random.default_rng(0), each.family.size)
    compiled = optlayers.compile(instance.problem, instance.parameters, instance.outputs, gp=instance.gp)
    found = {type(cone).__name__ for cone in compiled.solution_map.parametric.structure.cones.factors}
    assert found - {"Zero", "Nonnegative"} == each.cones
    with pytest.raises(OptionError, match=r"OSQP cannot solve this problem.*CLARABEL and SCS"):
        optlayers.compile(instance.problem, instance.parameters, instance.outputs, gp=instance.gp, solver="OSQP")


@conic
@pytest.mark.parametrize("solver", SOLVERS)
def test_degenerate_instances(each: ConicFamily, solver: str) -> None:
    """Solved to 1e-9; derivatives are finite, and right or reported. Types are checked with one of the solvers only."""
    with nullcontext() if solver == SOLVERS[-1] else unchecked():
        require_an_honest_derivative(each, solver)


def require_an_honest_derivative(each: ConicFamily, solver: str) -> None:
    instance = each.family.build(np.random.default_rng(0), each.family.size)
    values = each.degenerate(np.random.default_rng(0), each.family.size)
    compiled = optlayers.compile(instance.problem, instance.parameters, instance.outputs, solver=solver, gp=instance.gp)
    solution = compiled.solve(*values)
    (report,) = solution.reports
    assert report.status is Status.SOLVED
    assert report.residual <= 1e-9
    direction = random_directions(replace(instance, values=values), np.random.default_rng(1))
    cotangents = [np.random.default_rng(2).standard_normal(output.shape) for output in solution.outputs]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tangents = compiled.jvp(solution, *direction)
        gradients = compiled.vjp(solution, *cotangents)
    assert all(np.isfinite(part).all() for part in (*tangents, *gradients))
    if not each.differentiable:
        assert any(issubclass(warning.category, SingularWarning) for warning in caught), each.what
        return
    assert not caught
    differences = central_difference(lambda *v: compiled.solve(*v).outputs, values, direction)
    np.testing.assert_allclose(flatten(tangents), differences, rtol=0, atol=1e-6 * max(1, np.abs(differences).max()))
    along = sum(float(np.vdot(g, d)) for g, d in zip(gradients, direction, strict=True))
    assert along == pytest.approx(flatten(tangents) @ flatten(cotangents), rel=1e-9)


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize(
    ("family", "options"),
    [
        *((family, {"derivative": "hsde"}) for family in FAMILIES),
        *((each.family, {"derivative": "hsde"}) for each in CONIC_FAMILIES),
        *((each.family, {"backward": "lsmr"}) for each in CONIC_FAMILIES[::5]),
        *((each.family, {"backward": "batched_dense"}) for each in CONIC_FAMILIES[2::5]),
    ],
    ids=lambda value: value.name if isinstance(value, Family) else "-".join(value.values()),
)
def test_every_derivation_gives_the_same_derivative(family: Family, options: dict[str, str]) -> None:
    instance = family.build(np.random.default_rng(0), family.size)
    arguments = (instance.problem, instance.parameters, instance.outputs)
    compiled = optlayers.compile(*arguments, gp=instance.gp)
    other = optlayers.compile(*arguments, gp=instance.gp, **options)
    solution = compiled.solve(*instance.values)
    cotangents = [np.random.default_rng(2).standard_normal(output.shape) for output in solution.outputs]
    expected = flatten(compiled.vjp(solution, *cotangents))
    g_values, (report,) = other.vjp_and_reports(solution, *cotangents)
    np.testing.assert_allclose(flatten(g_values), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert report.method == other.backward.name
    direction = random_directions(instance, np.random.default_rng(1))
    tangents = flatten(compiled.jvp(solution, *direction))
    np.testing.assert_allclose(
        flatten(other.jvp(solution, *direction)), tangents, rtol=0, atol=1e-6 * np.abs(tangents).max()
    )
