"""A framework's arrays and forms, and solvers run without a policy for failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch

from optlayers.errors import Status
from optlayers.implicit import STATUSES, Equation, Problem, run
from optlayers.torch.framework import TORCH
from optlayers.torch.implicit import argmin, fixed_point, root


@final
@dataclass(frozen=True)
class FrontEnd:
    """A framework's arrays and forms; `grad` of a function of one array."""

    name: str
    framework: Any
    array: Callable[[np.ndarray], Any]
    root: Callable[..., Any]
    fixed_point: Callable[..., Any]
    argmin: Callable[..., Any]
    grad: Callable[..., Any]

    @property
    def xp(self) -> Any:
        return self.framework.xp


FRONT_ENDS = [
    FrontEnd("torch", TORCH, torch.as_tensor, root, fixed_point, argmin, torch.func.grad),
]


def numbers(array: Any) -> np.ndarray:
    return np.asarray(array.detach() if isinstance(array, torch.Tensor) else array)


def statuses(info: Any) -> list[Status]:
    return [STATUSES[place] for place in numbers(info.status).flat]


def run_without_policy(front: FrontEnd, F: Any, z0: Any, theta: Any, solver: Any) -> tuple[np.ndarray, Any]:
    equation = Equation("root", lambda z, theta: F(z, *theta))
    problem = Problem(front.framework, equation, (front.array(np.array(theta)),))
    z0 = front.array(np.array(z0))
    solver.check(problem, z0)
    z, info = run(problem, solver, z0)
    return numbers(z), info
