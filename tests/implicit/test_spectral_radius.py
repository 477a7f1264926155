"""The estimate of the spectral radius."""

from __future__ import annotations

import numpy as np
import pytest
from implicit.front_ends import FrontEnd, numbers

from optlayers.errors import OptionError
from optlayers.implicit import Equation, Problem, spectral_radius

pytestmark = pytest.mark.usefixtures("unthreaded")


def test_spectral_radius(front: FrontEnd) -> None:
    random = np.random.default_rng(5)
    matrices = random.standard_normal((3, 6, 6))  # with complex pairs in front
    matrices[0] = matrices[0] @ np.diag([0, 0, 0, 0, 0, 0])
    matrices[1] = np.kron(np.diag([2.0, 1.0, 0.5]), [[0, -1], [1, 0]])
    radii = [np.abs(np.linalg.eigvals(matrix)).max() for matrix in matrices]
    equation = Equation("fixed_point", lambda z, theta: z - (theta[0] @ z[..., None])[..., 0])
    problem = Problem(front.framework, equation, (front.array(matrices),))
    z = front.array(np.zeros((3, 6)))
    estimates = numbers(spectral_radius(problem, z))
    np.testing.assert_allclose(estimates, radii, rtol=0.02)
    assert estimates[0] == 0
    np.testing.assert_array_equal(estimates, numbers(spectral_radius(problem, z)))
    with pytest.raises(OptionError, match="iterations"):
        spectral_radius(problem, z, 0)
