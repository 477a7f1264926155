"""Roots, fixed points and stationary points in PyTorch."""

from __future__ import annotations

from typing import Any

from optlayers.implicit import Settings, argmin_equation, fixed_point_equation, root_equation, solve_form
from optlayers.torch.framework import TORCH


def _function(form: Any) -> Any:
    def solve(
        function: Any, z0: Any, theta: Any = (), *, batch_axes: int = 0, return_info: bool = False, **settings: Any
    ) -> Any:
        z, info = solve_form(TORCH, form, function, z0, theta, batch_axes, Settings(**settings))
        return (z, info) if return_info else z

    return solve


root, fixed_point, argmin = map(_function, (root_equation, fixed_point_equation, argmin_equation))
