"""Every backward method on every kind of cone, against the dense derivative of the residual map."""

from __future__ import annotations

import numpy as np
import pytest
from cone_programs import CONES, Solved, dense_tangents, random_conic_program

from optlayers.backward import METHODS, AbstractBackward, Homogeneous, Points, Smoothed
from optlayers.kkt import SymmetricSystem

EXACT: list[AbstractBackward] = [method() for method in METHODS.values() if method is not Smoothed] + [Homogeneous()]

methods = pytest.mark.parametrize("method", EXACT, ids=lambda method: method.name)
kinds = pytest.mark.parametrize("kind", CONES)


def points(*solved: Solved) -> Points:
    return Points(
        solved[0].program.structure,
        np.array([each.data for each in solved]),
        np.array([each.x for each in solved]),
        np.array([each.v for each in solved]),
    )


def solved_batch(kind: str, quadratic: bool) -> list[Solved]:
    """Two programs of one structure."""
    first = random_conic_program(CONES[kind], 0, quadratic=quadratic)
    n = first.program.structure.n
    return [first, random_conic_program(CONES[kind], 1, quadratic=quadratic, n=n)]


@methods
@kinds
@pytest.mark.parametrize("quadratic", [True, False])
def test_products(method: AbstractBackward, kind: str, quadratic: bool) -> None:
    batch = [random_conic_program(CONES[kind], 0, quadratic=quadratic)] * 2
    structure = batch[0].program.structure
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((2, 3, structure.data_size))
    cotangents = rng.standard_normal((2, 2, structure.n + structure.m))
    system = SymmetricSystem(structure)
    forward = method.multiply(system, points(*batch), directions, False, 1)
    reverse = method.multiply(system, points(*batch), cotangents, True, 2)
    for place, solved in enumerate(batch):
        expected = dense_tangents(solved, directions[place])
        scale = np.abs(expected).max()
        np.testing.assert_allclose(forward[place].values, expected, rtol=0, atol=1e-7 * scale)
        np.testing.assert_allclose(
            directions[place] @ reverse[place].values.T, expected @ cotangents[place].T, rtol=1e-6, atol=1e-6 * scale
        )
    for result in (*forward, *reverse):
        assert not result.report.singular
        assert result.report.residual <= 1e-9
        assert 0 <= result.report.iterations <= method.max_iterations
        assert result.report.method == method.name
