"""The choice of a solver: defaults, functions, options, trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from implicit.front_ends import FrontEnd, numbers, statuses

from optlayers.errors import ArgumentError, OptionError, Status
from optlayers.implicit import GMRES, LBFGS, Anderson, Broyden, GradientDescent, LineSearch, Newton
from optlayers.implicit.solvers import Custom, solver_of

pytestmark = pytest.mark.usefixtures("unthreaded")


def test_a_function_as_solver_is_judged_and_differentiated_implicitly(front: FrontEnd) -> None:
    def babylonian(F: Any, z: Any) -> Any:
        for _ in range(5):
            z = z - F(z) / (2 * z)
        return z

    def solution(t: Any, **settings: Any) -> Any:
        return front.root(
            lambda z, t: z**2 - t[..., None],
            front.array(np.ones((3, 1))),
            t,
            batch_axes=1,
            solver=babylonian,
            **settings,
        )

    t = front.array(np.array([1.0, 2.0, 1e4]))
    _, info = solution(t, return_info=True, on_failure="nan")
    assert statuses(info) == [Status.SOLVED, Status.SOLVED, Status.UNSOLVED]
    assert numbers(info.iterations).tolist() == [0, 1, 1]
    derivative = front.grad(lambda t: solution(t).sum())(front.array(np.array([1.0, 2.0, 3.0])))
    np.testing.assert_allclose(numbers(derivative), 0.5 / np.sqrt([1.0, 2.0, 3.0]), atol=1e-9)
    for semantics, text in (
        ("unrolled", "the given function has no steps"),
        ("one_step", "go with the given function"),
    ):
        with pytest.raises(OptionError, match=text):
            solution(t, differentiate=semantics)
    with pytest.raises(ArgumentError, match=r"must return z like z0.*\(3, 1\).*not float"):
        front.root(
            lambda z, t: z - 2 + 0 * t, front.array(np.ones((3, 1))), front.array(np.array(1.0)), batch_axes=1,
            solver=lambda F, z: 1.0,
        )  # fmt: skip


def test_trees(front: FrontEnd) -> None:
    theta = front.array(np.array([2.0, 3.0]))
    for solver in (Newton(), Broyden(), Anderson()):
        z = front.root(
            lambda z, t: {"x": z["x"] - t, "y": (z["x"] * z["y"][0] - 1,)},
            {"x": front.array(np.ones(2)), "y": (front.array(np.ones(2)),)},
            theta,
            solver=solver,
        )
        np.testing.assert_allclose(numbers(z["x"]), [2, 3], atol=1e-9)
        np.testing.assert_allclose(numbers(z["y"][0]), [1 / 2, 1 / 3], atol=1e-9)


def test_defaults_and_refused_choices() -> None:
    assert isinstance(solver_of(None, "root", 500), Newton)
    large = solver_of(None, "root", 501)
    assert isinstance(large, Newton)
    assert isinstance(large.linear, GMRES)
    assert isinstance(solver_of(None, "fixed_point", 3), Anderson)
    assert isinstance(solver_of(None, "argmin", 3), LBFGS)
    assert isinstance(solver_of(lambda F, z: z, "root", 3), Custom)
    for choice in ("newton", Newton, 3):
        with pytest.raises(OptionError, match="Newton, Broyden, Anderson"):
            solver_of(choice, "root", 3)


@pytest.mark.parametrize(
    ("solver", "options"),
    [
        (Anderson, {"depth": 0}),
        (Anderson, {"damping": 0.0}),
        (Anderson, {"regularization": -1.0}),
        (Anderson, {"growth": 0.5}),
        (Broyden, {"depth": 0}),
        (Broyden, {"scale": 0.0}),
        (Broyden, {"safety": 1.0}),
        (Broyden, {"growth": 0.5}),
        (LBFGS, {"depth": 0}),
        (GradientDescent, {"step_length": -1.0}),
        (GradientDescent, {"memory": 1.0}),
        (LineSearch, {"curvature": 1e-5}),
        (LineSearch, {"sufficient_decrease": 0.6}),
        (LineSearch, {"max_trials": 0}),
        (Newton, {"patience": 0}),
    ],
)
def test_options_are_checked(solver: Any, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        solver(**options)
