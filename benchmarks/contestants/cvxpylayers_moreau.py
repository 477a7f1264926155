"""cvxpylayers with the Moreau solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from benchmarks.contestant import Layer, Output
from benchmarks.contestants.cvxpylayers_diffcp import build_cvxpylayer
from benchmarks.explicit_bounds import with_explicit_bounds

if TYPE_CHECKING:
    import cvxpy as cp


@final
@dataclass(frozen=True)
class CvxpylayersMoreau:
    """`method`: "ipm", its interior-point method, or "auto", its own choice, the active-set method on small programs.

    The problem is first rewritten by `with_explicit_bounds`, without which x >= 0 is dropped in silence (cvxpylayers
    1.2.0 with CVXPY 1.9.3).
    """

    method: str

    @property
    def name(self) -> str:
        return f"cvxpylayers:MOREAU-{self.method}"

    @property
    def needs(self) -> tuple[str, ...]:
        return ("cvxpylayers", "moreau", "torch")

    def build(self, problem: cp.Problem, parameters: Sequence[cp.Parameter], outputs: Sequence[Output]) -> Layer:
        mended, mended_outputs = with_explicit_bounds(problem, outputs)
        return build_cvxpylayer(mended, parameters, mended_outputs, "MOREAU", {"solver": self.method})
