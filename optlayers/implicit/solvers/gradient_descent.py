"""Gradient descent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, final

from optlayers.errors import OptionError
from optlayers.implicit.checks import check_kind, check_positive, is_number, wrong
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.linear.abstract import AbstractLinearSolver
from optlayers.implicit.linear.one_step import OneStep
from optlayers.implicit.report import STAGNATED
from optlayers.implicit.solvers.abstract import AbstractIteration, Memory, Step
from optlayers.implicit.solvers.line_search import Line, LineSearch, armijo, first_length
from optlayers.implicit.stopping import inner


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class GradientDescent(AbstractIteration):
    """z <- z - t grad phi, for argmin.

    With a given `step`, t is that; it converges, linearly, where step is less than two over the largest eigenvalue of
    the second derivative of phi. Otherwise t = s's / s'y for the last changes s of z and y of the gradient (Barzilai
    and Borwein 1988, Two-point step size gradient methods), halved until phi lies below a mean of its former values,
    weighted by powers of `memory` (Zhang and Hager 2004, A nonmonotone line search technique): on ill-conditioned
    problems far faster than descent in every step. The rate depends on the condition number; L-BFGS is faster. An
    element for which no t is accepted ends as STAGNATED: the tolerance lies below the rounding of the gradient.

    In unrolled derivatives t is a constant.
    """

    max_iterations: int = 10000
    step_length: float | None = None
    memory: float = 0.85
    search: LineSearch = field(default_factory=LineSearch)

    name: ClassVar[str] = "gradient descent"
    minimizes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_length is not None:
            check_positive("GradientDescent", "step_length", self.step_length)
        if not is_number(self.memory) or not 0 <= self.memory < 1:
            raise wrong("GradientDescent", "memory", self.memory, "a number from 0 and below 1")
        check_kind("GradientDescent", "search", self.search, LineSearch, "a line search, such as LineSearch(),")

    def start(self, problem: Problem, z: Array, residual: Array) -> Memory:
        if self.step_length is not None:
            return ()
        value = problem.framework.constant(problem.objective(z))
        return z, residual, value, value, problem.xp.zeros_like(value), ~problem.xp.isnan(value)

    def step(self, problem: Problem, z: Array, residual: Array, memory: Memory, moving: Array) -> Step:
        if self.step_length is not None:
            return Step(z - self.step_length * residual, ())
        xp, constant = problem.xp, problem.framework.constant
        before, residual_before, value, mean, weight, _ = memory
        s, y = constant((z - before, residual - residual_before))
        curvature = inner(xp, s, y)
        convex = curvature > 0
        length = xp.where(convex, inner(xp, s, s), first_length(problem, residual))
        length = length / xp.where(convex, curvature, xp.ones_like(curvature))
        direction = -length[..., None] * residual
        total = self.memory * weight + 1
        mean = (self.memory * weight * mean + value) / total
        at = armijo(self.search, Line.of(problem, z, value, residual, direction), moving, mean)
        return Step(z + at.t[..., None] * direction, (z, residual, at.value, mean, total, at.accepted), at.gradient)

    def verdict(self, problem: Problem, residual: Array, memory: Memory, status: Array) -> Array:
        return status if self.step_length is not None else problem.xp.where(memory[-1], status, STAGNATED)

    def linear_step(self) -> AbstractLinearSolver:
        if self.step_length is None:
            raise OptionError(
                'differentiate="one_step" does not go with the line search of GradientDescent: begun anew at the '
                'solution, its step has some length. Give step_length=, or take differentiate="implicit".'
            )
        return OneStep(scale=self.step_length)
