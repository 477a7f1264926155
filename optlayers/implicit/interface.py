"""`root`, `fixed_point` and `argmin`, for any framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optlayers.errors import ArgumentError
from optlayers.implicit.equation import Equation, Problem
from optlayers.implicit.forms import Rebuild, UserFunction
from optlayers.implicit.framework import Framework
from optlayers.implicit.layout import Layout
from optlayers.implicit.report import Info
from optlayers.implicit.settings import Settings, plan
from optlayers.implicit.solve import solve

Form = Callable[[Framework, UserFunction, Layout, Rebuild], Equation]


def solve_form(
    framework: Framework, form: Form, function: UserFunction, z0: Any, theta: Any, batch_axes: int, settings: Settings
) -> tuple[Any, Info]:
    """The solution, a tree like z0, of the user's function in one of the forms, and how it was found."""
    if not callable(function):
        raise ArgumentError(f"a function of z and theta is expected, not {type(function).__name__}.")
    layout = Layout.of(framework, z0, batch_axes)
    leaves, rebuild = framework.flatten(theta)
    equation = form(framework, function, layout, rebuild)
    initial = framework.constant(layout.ravel(z0, "z0"))
    problem, z = framework.enclose(Problem(framework, equation, tuple(leaves)), initial)
    found, info = solve(problem, z, plan(settings, equation, layout.size))
    return layout.unravel(found), info
