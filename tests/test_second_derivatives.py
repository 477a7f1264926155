"""The second derivative of every family's solution map, against central differences of first derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from conic_problems import CONIC_FAMILIES
from oracles import random_directions, unchecked
from problems import FAMILIES, Family, family

import optlayers
from optlayers import LSMR, BatchedDense, MinimumNorm, Smoothed
from optlayers.backward import AbstractBackward
from optlayers.errors import DerivativeError
from optlayers.solution_map import ConeSolutionMap, Residuals

STEP = 1e-5
TOLERANCE = 1e-6
ROUNDING = 1e-9
"""Second derivatives below this, relative to the sizes of the first ones, are noise in differences of these."""

ALL = [*FAMILIES, *(each.family for each in CONIC_FAMILIES)]


class Case:
    """A family's solution map at its values, with directions of theta and a cotangent of the output."""

    def __init__(self, family: Family, backward: AbstractBackward | str | None = None, derivative: str = "kkt") -> None:
        instance = family.build(np.random.default_rng(0), family.size)
        compiled = optlayers.compile(
            instance.problem,
            instance.parameters,
            instance.outputs,
            gp=instance.gp,
            backward=backward,
            derivative=derivative,
        )
        self.map: ConeSolutionMap = compiled.solution_map
        signature = self.map.parametric.signature
        self.theta = signature.pack(np, instance.values)
        rng = np.random.default_rng(1)
        slopes = signature.parameter_slopes(self.theta)
        self.first, self.second = (signature.flatten(np, random_directions(instance, rng)) * slopes for _ in range(2))
        self.cotangent = rng.standard_normal(signature.k)
        self.residuals = self.map.forward(self.theta)[1]

    def at(self, step: float) -> Residuals:
        return self.map.forward(self.theta + step * self.second)[1]

    def difference(self, vector: np.ndarray, transpose: bool) -> tuple[np.ndarray, float]:
        """The central difference of J `vector`, or J' `vector`, along the second direction; and the size below which
        it is rounding."""
        with unchecked():
            ahead, behind = (self.map.derivative(self.at(step), vector, transpose) for step in (STEP, -STEP))
        return (ahead - behind) / (2 * STEP), ROUNDING * float(np.abs(ahead).max(initial=0.0))


@pytest.mark.parametrize("family", ALL, ids=[each.name for each in ALL])
def test_both_modes_against_central_differences(family: Family) -> None:
    case = Case(family)
    forward = case.map.second_derivative(case.residuals, case.first, case.second, False)
    reverse = case.map.second_derivative(case.residuals, case.cotangent, case.second, True)
    roundings = []
    for ours, vector, transpose in ((forward, case.first, False), (reverse, case.cotangent, True)):
        oracle, rounding = case.difference(vector, transpose)
        roundings.append(rounding)
        assert np.abs(ours - oracle).max() <= TOLERANCE * np.abs(oracle).max() + rounding
    floor = 1e-3 * roundings[0] * np.abs(case.cotangent).sum()
    assert case.cotangent @ forward == pytest.approx(reverse @ case.first, rel=1e-10, abs=floor)


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("name", ["norm_constrained", "entropy", "geometric_mean", "lyapunov", "dense_qp"])
def test_symmetric_and_equal_for_every_pairing_of_axes(name: str) -> None:
    case = Case(next(each for each in ALL if each.name == name))
    directions = np.stack([case.first, case.second])
    table = case.map.second_derivative(case.residuals, directions[:, None], directions, False)
    assert table.shape == (2, 2, case.map.output_size)
    np.testing.assert_allclose(table[0, 1], table[1, 0], rtol=1e-10, atol=1e-12 * np.abs(table).max())
    one = case.map.second_derivative(case.residuals, case.first, case.second, False)
    np.testing.assert_allclose(table[0, 1], one, rtol=1e-10, atol=1e-12 * np.abs(table).max())
    thetas = np.stack([case.theta, case.theta + 1e-3 * case.first, case.theta])
    batch = case.map.forward(thetas)[1]
    each = case.map.second_derivative(batch, directions[:, None], case.second, False)
    assert each.shape == (2, 3, case.map.output_size)
    np.testing.assert_allclose(each[0, 2], one, rtol=1e-10, atol=1e-12 * np.abs(one).max())


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("backward", [BatchedDense(), MinimumNorm(), LSMR(), "hsde"], ids=str)
@pytest.mark.parametrize("name", ["dense_qp", "norm_constrained", "softmax"])
def test_every_method_has_the_same(name: str, backward: AbstractBackward | str) -> None:
    chosen = next(each for each in ALL if each.name == name)
    case = Case(chosen)
    other = Case(chosen, None, "hsde") if backward == "hsde" else Case(chosen, backward)
    for vector, transpose in ((case.first, False), (case.cotangent, True)):
        reference = case.map.second_derivative(case.residuals, vector, case.second, transpose)
        ours = other.map.second_derivative(case.residuals, vector, case.second, transpose)
        np.testing.assert_allclose(ours, reference, rtol=1e-6, atol=1e-7 * np.abs(reference).max())


def test_the_smoothed_method_refuses_by_name() -> None:
    case = Case(family("dense_qp"), Smoothed())
    with pytest.raises(DerivativeError, match="backward='smoothed'"):
        case.map.second_derivative(case.residuals, case.first, case.second, False)
