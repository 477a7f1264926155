"""The iterations for equations, for linear systems."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from optlayers.implicit.checks import check_kind
from optlayers.implicit.equation import Equation, Problem, Theta
from optlayers.implicit.framework import Array, Function
from optlayers.implicit.iteration import run
from optlayers.implicit.linear.abstract import ROUNDING, AbstractLinearSolver, LinearSolution
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import DIVERGED, NOT_FINITE, LinearInfo
from optlayers.implicit.solvers.abstract import AbstractIteration
from optlayers.implicit.stopping import Stop, length, stop_of


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Iterated(AbstractLinearSolver):
    """An iteration for F(v) = 0, applied to F(v) = A v - rhs from v = 0: as in deep equilibrium models (Bai, Kolter,
    Koltun 2019), where what solves the equation solves the adjoint one too. With a preconditioner, A M^-1 stands for A,
    and u = M^-1 v.

    solver: the iteration. Its `tolerance`, `max_iterations` and `stop` are not read, but those given here; as in all
        iterations, they are compared with the largest entry of the residual. The Euclidean norm is reported.

    Converges under the iteration's own conditions; its statuses are passed on.
    """

    solver: AbstractIteration

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the iteration."""
        return self.solver.name

    def __post_init__(self) -> None:
        AbstractLinearSolver.__post_init__(self)
        expected = "an iteration, as an object such as FixedPointIteration() or Anderson(),"
        check_kind("Iterated", "solver", self.solver, AbstractIteration, expected)

    @classmethod
    def of(cls, solver: AbstractIteration) -> Iterated:
        """With the iteration's own tolerance, if it has one, limit, and rule; but not the absolute one, by which u = 0
        would do for a small rhs: REDUCTION stands for it."""
        stop = stop_of(solver.stop)
        return cls(
            solver=solver,
            tolerance=AbstractLinearSolver.tolerance if solver.tolerance is None else solver.tolerance,
            max_iterations=solver.max_iterations,
            stop=Stop.REDUCTION if stop is Stop.ABSOLUTE else stop,
        )

    def mapped(self, function: Function) -> Iterated:
        preconditioner = None if self.preconditioner is None else self.preconditioner.mapped(function)
        return replace(self, preconditioner=preconditioner, solver=self.solver.mapped(function))

    def solve(self, operator: LinearOperator, rhs: Array) -> LinearSolution:
        xp, multiply, inverse = operator.xp, operator.multiply(), self.approximate_inverse(operator)

        def residual(v: Array, theta: Theta) -> Array:
            return multiply(inverse(v)) - rhs

        problem = Problem(operator.framework, Equation("root", residual), ())
        tolerance = self.tolerance
        if stop_of(self.stop) is not Stop.ABSOLUTE:
            tolerance = max(tolerance, ROUNDING * float(xp.finfo(rhs.dtype).eps))
        solver = replace(self.solver, tolerance=tolerance, max_iterations=self.max_iterations, stop=self.stop)
        v = xp.zeros_like(rhs)
        solver.check(problem, v)
        v, info = run(problem, solver, v)
        norm = length(xp, residual(v, ()))
        status = xp.where(info.status == NOT_FINITE, xp.full_like(info.status, DIVERGED), info.status)
        return LinearSolution(inverse(v), LinearInfo(status, norm, info.iterations, xp.full_like(norm, float("nan"))))
