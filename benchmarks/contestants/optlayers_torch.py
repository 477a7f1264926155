"""optlayers through PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from benchmarks.contestant import Layer, Output, RefusedError
from benchmarks.contestants.torch_layer import TorchLayer

if TYPE_CHECKING:
    import cvxpy as cp


@final
@dataclass(frozen=True)
class OptlayersTorch:
    """`solver` by name, None for the package's own choice; all other settings are the defaults."""

    solver: str | None

    @property
    def name(self) -> str:
        return f"optlayers:{self.solver}" if self.solver else "optlayers"

    @property
    def needs(self) -> tuple[str, ...]:
        return ("torch",)

    def build(self, problem: cp.Problem, parameters: Sequence[cp.Parameter], outputs: Sequence[Output]) -> Layer:
        from optlayers.errors import OptionError, ProblemError
        from optlayers.torch import CvxpyLayer

        try:
            return TorchLayer(CvxpyLayer(problem, parameters, outputs, solver=self.solver))
        except (ProblemError, OptionError) as error:
            raise RefusedError(str(error)) from error
