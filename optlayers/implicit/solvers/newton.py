"""Newton's method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, final

from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.linear.abstract import AbstractLinearSolver
from optlayers.implicit.linear.lu import LU
from optlayers.implicit.solvers.abstract import AbstractIteration, Memory
from optlayers.implicit.stopping import largest


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Newton(AbstractIteration):
    """z <- z - t J_z^-1 F(z), the step t halved until |F| has decreased by the part `sufficient_decrease` t.

    linear: solves for the step; `LU()` forms J_z, Krylov methods multiply with it only.
    max_halvings: how often t is halved at most; the last t is then taken. 0: full steps always.
    """

    max_iterations: int = 100
    linear: AbstractLinearSolver = field(default_factory=LU)
    max_halvings: int = 10
    sufficient_decrease: float = 1e-4

    name: ClassVar[str] = "Newton"

    def start(self, problem: Problem, z: Array, residual: Array) -> Memory:
        return ()

    def step(self, problem: Problem, z: Array, residual: Array, memory: Memory) -> tuple[Array, Memory]:
        direction = problem.framework.linear_solve(problem, z, residual, self.linear, None)
        t = self._length(problem.constant(), *problem.framework.constant((z, residual, direction)))
        return z - t[..., None] * direction, ()

    def _length(self, problem: Problem, z: Array, residual: Array, direction: Array) -> Array:
        """(*B) t"""
        xp, norm = problem.xp, largest(problem.xp, residual)
        if self.max_halvings == 0:
            return xp.ones_like(norm)

        def too_long(t: Array) -> Array:
            trial = largest(xp, problem.residual(z - t[..., None] * direction))
            return ~(trial <= (1 - self.sufficient_decrease * t) * norm)

        def going(state: tuple[Array, Array]) -> Array:
            t, long = state
            return long & (t > 0.5 ** (self.max_halvings - 0.5))

        def halve(state: tuple[Array, Array]) -> tuple[Array, Array]:
            t, long = state
            t = xp.where(going(state), t / 2, t)
            return t, long & too_long(t)

        t = xp.ones_like(norm)
        return problem.framework.while_loop(going, halve, (t, too_long(t)))[0]
