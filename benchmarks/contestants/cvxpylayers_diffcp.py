"""cvxpylayers with its default backend, diffcp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import cvxpy as cp

from benchmarks.contestant import Layer, Output, RefusedError
from benchmarks.contestants.torch_layer import TorchLayer

if TYPE_CHECKING:
    from collections.abc import Mapping


@final
@dataclass(frozen=True)
class CvxpylayersDiffcp:
    """All settings are the defaults."""

    name: str = "cvxpylayers"
    needs: tuple[str, ...] = ("cvxpylayers", "diffcp", "torch")

    def build(self, problem: cp.Problem, parameters: Sequence[cp.Parameter], outputs: Sequence[Output]) -> Layer:
        return build_cvxpylayer(problem, parameters, outputs, None, {})


def build_cvxpylayer(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    outputs: Sequence[Output],
    solver: str | None,
    solver_args: Mapping[str, object],
) -> Layer:
    """cvxpylayers' layer; it takes lists, and dual variables in the place of constraints."""
    from cvxpylayers.torch import CvxpyLayer

    variables = [output if isinstance(output, cp.Variable) else output.dual_variables[0] for output in outputs]
    try:
        module = CvxpyLayer(problem, list(parameters), variables, solver=solver, solver_args=dict(solver_args))
    except (ValueError, NotImplementedError, cp.error.SolverError) as error:
        raise RefusedError(str(error)) from error
    return TorchLayer(module)
