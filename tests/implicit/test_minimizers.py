"""Minimisers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
from implicit.front_ends import FrontEnd, numbers

from optlayers.errors import OptionError
from optlayers.implicit import LBFGS, GradientDescent, Newton

pytestmark = pytest.mark.usefixtures("unthreaded")


def _rosenbrock(z: Any, t: Any) -> Any:
    return ((t - z[..., :-1]) ** 2 + 100 * (z[..., 1:] - z[..., :-1] ** 2) ** 2).sum(-1)


@pytest.mark.parametrize("solver", [LBFGS(), GradientDescent(), Newton()], ids=lambda solver: solver.name)
def test_rosenbrock(front: FrontEnd, solver: Any) -> None:
    z = front.argmin(_rosenbrock, front.array(np.array([-1.2, 1.0])), front.array(np.array(1.0)), solver=solver)
    np.testing.assert_allclose(numbers(z), [1.0, 1.0], atol=1e-7)


@pytest.mark.usefixtures("without_checks")
def test_logistic_regression(front: FrontEnd) -> None:
    xp, random = front.xp, np.random.default_rng(4)
    X = random.standard_normal((60, 5)) * [1, 2, 4, 8, 16]
    y = np.sign(random.standard_normal(60))
    penalties = np.array([1.0, 1e-2])

    def phi(z: Any, theta: Any) -> Any:
        X, y, penalty = theta
        losses = xp.logaddexp(xp.zeros_like(y), -y * (z @ X.T))
        return losses.sum(-1) + penalty * (z**2).sum(-1) / 2

    theta = (front.array(X), front.array(y), front.array(penalties))
    reference = [
        scipy.optimize.minimize(
            lambda w, p=p: np.logaddexp(0, -y * (X @ w)).sum() + p * w @ w / 2,
            np.zeros(5), jac=lambda w, p=p: -X.T @ (y / (1 + np.exp(y * (X @ w)))) + p * w,
            method="BFGS", options={"gtol": 1e-9},
        ).x
        for p in penalties
    ]  # fmt: skip
    for solver in (LBFGS(), GradientDescent(), Newton(), None):
        z, info = front.argmin(phi, front.array(np.zeros((2, 5))), theta, batch_axes=1, solver=solver, return_info=True)
        assert (numbers(info.residual) <= 1e-10).all()
        np.testing.assert_allclose(numbers(z), reference, atol=1e-8)


def test_small_gradients_are_reached_where_phi_is_flat_to_rounding(front: FrontEnd) -> None:
    """phi has an offset of 1e6, so its differences drown at |z| = 1e-5, gradients of 1e-5."""
    scales = front.array(np.array([1.0, 3.0, 10.0]))
    for solver in (LBFGS(tolerance=1e-9), GradientDescent(tolerance=1e-9)):
        z = front.argmin(
            lambda z, t: 1e6 + front.xp.sum(t * front.xp.log(front.xp.cosh(z - 1)), axis=-1),
            front.array(np.zeros(3)), scales, solver=solver,
        )  # fmt: skip
        np.testing.assert_allclose(numbers(z), 1.0, atol=1e-9)


def test_minimizers_refuse_other_equations(front: FrontEnd) -> None:
    for solver in (LBFGS(), GradientDescent()):
        with pytest.raises(OptionError, match=rf"{type(solver).__name__} minimises; it solves argmin only, not root"):
            front.root(lambda z, t: z - t, front.array(np.ones(1)), front.array(np.array(0.5)), solver=solver)
