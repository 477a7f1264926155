"""Outputs of every family: exact, the same by every solver, and CVXPY's own."""

from __future__ import annotations

import numpy as np
import pytest
from conic_problems import CONIC_FAMILIES
from oracles import cvxpy_solution, require_close
from problems import FAMILIES, Family, batch_values

import optlayers
from optlayers.errors import Status

SOLVERS = ("OSQP", "SCS", "CLARABEL")
RESIDUAL = 1e-9
AGREEMENT = 1e-8
CASES = [*((family, SOLVERS) for family in FAMILIES), *((each.family, SOLVERS[1:]) for each in CONIC_FAMILIES)]
ALL_FAMILIES = [family for family, _ in CASES]
CONIC_CVXPY_ACCURACY = 1e-4  # duals and curved cones: the same square root, times the condition
CVXPY_INACCURATE = {
    **{each.family.name: CONIC_CVXPY_ACCURACY for each in CONIC_FAMILIES},
    **dict.fromkeys(("geometric_mean", "cobb_douglas", "all_cones"), 1e-3),
}
"""Clarabel reaches 4e-9 and no better on power cones of many dimensions."""
CVXPY_ACCURACY = 1e-6  # Clarabel stops at 1e-11 in the objective, which is the square root of that in the solution


@pytest.mark.parametrize(("family", "solvers"), CASES, ids=[family.name for family in ALL_FAMILIES])
@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
def test_solvers_agree_with_each_other_and_with_cvxpy(family: Family, solvers: tuple[str, ...]) -> None:
    instance = family.build(np.random.default_rng(0), family.size)
    outputs = []
    for solver in solvers:
        compiled = optlayers.compile(
            instance.problem, instance.parameters, instance.outputs, solver=solver, gp=instance.gp
        )
        solution = compiled.solve(*instance.values)
        (report,) = solution.reports
        assert report.status is Status.SOLVED
        assert report.residual <= RESIDUAL
        outputs.append(solution.outputs)
    compiled = optlayers.compile(instance.problem, instance.parameters, instance.outputs, gp=instance.gp)
    default = compiled.solve(*instance.values)
    assert default.reports[0].residual <= RESIDUAL
    outputs.append(default.outputs)
    for others in outputs[1:]:
        for output, first in zip(others, outputs[0], strict=True):
            require_close(output, first, AGREEMENT)
    for output, expected in zip(outputs[0], cvxpy_solution(instance, instance.values), strict=True):
        require_close(output, expected.reshape(output.shape), CVXPY_INACCURATE.get(family.name, CVXPY_ACCURACY))


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("family", ALL_FAMILIES, ids=lambda family: family.name)
def test_a_batch_is_its_elements(family: Family) -> None:
    instance = family.build(np.random.default_rng(0), family.size)
    compiled = optlayers.compile(instance.problem, instance.parameters, instance.outputs, gp=instance.gp)
    values = batch_values(instance, np.random.default_rng(3), 3)
    together = compiled.solve(*values)
    for element in range(3):
        alone = compiled.solve(*(value[element] for value in values))
        for batched, single in zip(together.outputs, alone.outputs, strict=True):
            # Exponentials and logarithms of arrays may differ by a rounding from those of their entries.
            np.testing.assert_allclose(batched[element], single, rtol=1e-14, atol=1e-15)


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_coarse_solver_gives_an_exact_point(solver: str) -> None:
    for family, solvers in CASES:
        if solver not in solvers:
            continue
        instance = family.build(np.random.default_rng(0), family.size)
        compiled = optlayers.compile(
            instance.problem,
            instance.parameters,
            instance.outputs,
            solver=solver,
            solver_args={"eps": 1e-2},
            gp=instance.gp,
        )
        (report,) = compiled.solve(*instance.values).reports
        assert report.residual <= RESIDUAL, f"{family.name}: {report}"
