"""A step of an iteration, in place of the solution of a linear system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from optlayers.implicit.checks import check_positive
from optlayers.implicit.framework import Array
from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.elementwise import counter
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import DIVERGED, SOLVED, LinearInfo
from optlayers.implicit.stopping import length


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class OneStep(AbstractLinearSolver):
    """u = scale rhs, the first step of v <- v - scale (A v - rhs) from 0: the derivative of one step z - scale F(z).

    It misses A^-1 (rhs - A u), a part of about the spectral radius of I - scale A; the residual is reported. Where the
    step contracts, |A u - rhs| < |rhs|, it is what was asked for: SOLVED. Where it does not, u is no better than 0:
    DIVERGED.

    tolerance, stop and max_iterations are not used, and there can be no preconditioner.

    Source: Bolte, Pauwels, Vaiter (2023), One-step differentiation of iterative algorithms.
    """

    tolerance: float = 1.0
    scale: float = 1.0

    name: ClassVar[str] = "one step"
    preconditioned: ClassVar[bool] = False

    def __post_init__(self) -> None:
        AbstractLinearSolver.__post_init__(self)
        check_positive("OneStep", "scale", abs(self.scale))

    def ends(self, bound: str) -> str:
        return "which must contract: |J u - rhs| < |rhs|"

    def solve(self, operator: LinearOperator, rhs: Array) -> LinearSolution:
        xp, u = operator.xp, self.scale * rhs
        first, residual = length(xp, rhs), length(xp, operator.multiply()(u) - rhs)
        contracts = (residual < first) | (first == 0)
        status = xp.where(contracts, counter(xp, first, SOLVED), counter(xp, first, DIVERGED))
        return LinearSolution(u, LinearInfo(status, residual, counter(xp, first, 1), xp.full_like(first, float("nan"))))
