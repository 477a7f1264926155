"""Newton's method."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, final

from optlayers.implicit.checks import check_between, check_count, check_kind
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array, Function
from optlayers.implicit.linear.abstract import AbstractLinearSolver
from optlayers.implicit.linear.lu import LU
from optlayers.implicit.report import SINGULAR, STAGNATED
from optlayers.implicit.solvers.abstract import AbstractIteration, Memory, Step
from optlayers.implicit.solvers.line_search import Line, LineSearch, armijo
from optlayers.implicit.stopping import largest


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Newton(AbstractIteration):
    """z <- z - t J_z^-1 F(z), the step t halved until |F| has decreased by the part `sufficient_decrease` t.

    Converges quadratically near a solution with a regular derivative, and linearly, by halves, to one with a singular
    derivative. For argmin, phi has to decrease along a direction of descent, in place of |F|; but it may find a saddle
    point, or a maximum. An element where J_z cannot be inverted ends as SINGULAR, and one where no t is accepted as
    STAGNATED: J_z is nearly singular and |F| has a local minimum, or the tolerance lies below the rounding of F.

    linear: solves for the step; `LU()` forms J_z, Krylov methods multiply with it only.
    max_halvings: how often t is halved at most. 0: full steps always.

    Dennis and Schnabel (1983), Numerical methods for unconstrained optimization and nonlinear equations, chapter 6.
    """

    max_iterations: int = 100
    linear: AbstractLinearSolver = field(default_factory=LU)
    max_halvings: int = 20
    sufficient_decrease: float = 1e-4

    name: ClassVar[str] = "Newton"

    def __post_init__(self) -> None:
        super().__post_init__()
        expected = "a solver of linear systems, as an object such as LU() or GMRES(),"
        check_kind("Newton", "linear", self.linear, AbstractLinearSolver, expected)
        check_count("Newton", "max_halvings", self.max_halvings, 0)
        check_between("Newton", "sufficient_decrease", self.sufficient_decrease, 0.0, 0.5)

    def mapped(self, function: Function) -> Newton:
        return replace(self, linear=self.linear.mapped(function))

    def start(self, problem: Problem, z: Array, residual: Array) -> Memory:
        ready = ~problem.xp.isnan(residual[..., 0])
        return ready, ready

    def step(self, problem: Problem, z: Array, residual: Array, memory: Memory, moving: Array) -> Step:
        xp = problem.xp
        # A step is judged by where it leads; but derivatives of steps, by their own systems.
        linear = self.linear.unchecked() if problem.policy is None else self.linear
        direction = problem.framework.linear_solve(problem, z, residual, linear)
        regular = xp.all(xp.isfinite(direction), axis=-1)
        direction = xp.where(regular[..., None], direction, 0 * residual)
        if self.max_halvings == 0:
            return Step(z - direction, (regular, regular))
        t, residual, found = self._searched(problem, z, residual, direction, moving & regular)
        return Step(z - t[..., None] * direction, (regular, found), residual)

    def verdict(self, problem: Problem, residual: Array, memory: Memory, status: Array) -> Array:
        regular, found = memory
        return problem.xp.where(regular, problem.xp.where(found, status, STAGNATED), SINGULAR)

    def linear_step(self) -> AbstractLinearSolver:
        return self.linear

    def _searched(
        self, problem: Problem, z: Array, residual: Array, direction: Array, moving: Array
    ) -> tuple[Array, Array, Array]:
        """t (*B), F there, and whether t is accepted; t = 0 where it is not."""
        xp, constant = problem.xp, problem.constant()
        z, residual, direction = problem.framework.constant((z, residual, direction))
        if problem.equation.objective is None:
            return self._towards_zero(constant, z, residual, direction, moving)
        search = LineSearch(sufficient_decrease=self.sufficient_decrease, max_trials=self.max_halvings + 1)
        line = Line.of(constant, z, constant.objective(z), residual, -direction)
        at = armijo(search, line, moving, line.value)
        downwards = at.accepted & (line.slope < 0)
        t, other, found = self._towards_zero(constant, z, residual, direction, moving & ~downwards)
        return xp.where(downwards, at.t, t), xp.where(downwards[..., None], at.gradient, other), downwards | found

    def _towards_zero(
        self, problem: Problem, z: Array, residual: Array, direction: Array, moving: Array
    ) -> tuple[Array, Array, Array]:
        """`_searched` by |F|."""
        xp, norm = problem.xp, largest(problem.xp, residual)

        def going(state: tuple[Array, Array, Array]) -> Array:
            t, _, found = state
            return moving & ~found & (t > 0.5 ** (self.max_halvings + 0.5))

        def attempt(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            t, at_t, found = state
            tried = going(state)
            t = xp.where(tried, t / 2, t)
            at_t = xp.where(tried[..., None], problem.residual(z - t[..., None] * direction), at_t)
            size = largest(xp, at_t)
            return t, at_t, found | (tried & (size <= (1 - self.sufficient_decrease * t) * norm) & (size < norm))

        t, at_t, found = problem.framework.while_loop(going, attempt, (2 * xp.ones_like(norm), residual, norm < 0))
        return xp.where(found, t, 0 * t), xp.where(found[..., None], at_t, residual), found
