"""The passes that the Krylov methods share: each solves for what the passes before it have left.

With r = rhs - A u, a pass finds d with A d close to r, and u <- u + d. A method's own recurrence for the residual
drifts away from it by rounding; the true one, computed after each pass, decides. So restarts, iterative refinement and
the check of the result are one thing (van der Vorst and Ye 2000, Residual replacement strategies for Krylov subspace
iterative methods).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, final

from optlayers.implicit.framework import Array, Function
from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.elementwise import advanced, counter, ended, scaled
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import DIVERGED, INACCURATE, ITERATION_LIMIT, RUNNING, SOLVED, LinearInfo
from optlayers.implicit.stopping import Stop, length, stop_of

STALLED = 0.99
"""A pass that leaves more than this part of the residual has made no progress, and a further one would make none."""


@final
class Pass(NamedTuple):
    """What a pass found: d (*E, *B, n); and, for each element, the iterations, the status with which it ends if the
    pass has made no progress, and an estimate of the condition number, or NaN."""

    d: Array
    iterations: Array
    failure: Array
    condition: Array


@final
class Refined(NamedTuple):
    """The solution so far, its residual, and their report."""

    u: Array
    r: Array
    norm: Array
    iterations: Array
    status: Array
    condition: Array


@final
class Going(NamedTuple):
    """Which elements a pass may iterate.

    running: (*E, *B) those that have not ended. left: the iterations that each has left.
    solved: (norm, () -> d, or None where d is not at hand) -> whether a residual of that norm meets the stopping rule.
    """

    running: Array
    left: Array
    solved: Callable[[Array, Callable[[], Array] | None], Array]

    def on(self, xp: Any, iterations: Array, norm: Array, d: Callable[[], Array] | None = None) -> Array:
        """Which of them go on after so many iterations, with a residual of such a norm."""
        return self.running & (iterations < self.left) & xp.isfinite(norm) & ~self.solved(norm, d)


Run = Callable[[Array, Array, Going], Pass]
"""One pass of a method, for a residual r and its norm."""


def refined(
    solver: AbstractLinearSolver, operator: LinearOperator, rhs: Array, multiply: Function, run: Run
) -> LinearSolution:
    """The solution by as many passes as it needs, from u = 0.

    An element ends where its residual meets the stopping rule (SOLVED), at the limit (ITERATION_LIMIT), where numbers
    overflow (DIVERGED), and where a pass makes no progress: with INACCURATE if the residual is at most sqrt(eps) |rhs|,
    half of the digits, and as the method says otherwise. Of all passes, the u of the smallest residual is kept.
    """
    xp = operator.xp
    rhs, scale = scaled(xp, rhs)
    first = length(xp, rhs)

    def solved(norm: Array, u: Array) -> Array:
        size = length(xp, u) if stop_of(solver.stop) is Stop.RELATIVE else norm
        return norm * scale <= solver.bound(xp, first * scale, size * scale)

    def body(at: Refined) -> Refined:
        running = at.status == RUNNING
        going = Going(
            running,
            solver.max_iterations - at.iterations,
            lambda norm, d: solved(norm, at.u if d is None else at.u + d()),
        )
        found = run(at.r, at.norm, going)
        new = Refined(
            at.u + found.d,
            rhs - multiply(at.u + found.d),
            at.norm,
            at.iterations + found.iterations,
            at.status,
            xp.where(xp.isfinite(at.condition), at.condition, found.condition),
        )
        norm = length(xp, new.r)
        stalled = ~(norm <= STALLED * at.norm)
        kept = advanced(xp, norm < at.norm, new._replace(norm=norm), new._replace(u=at.u, r=at.r))
        status = ended(xp, at.status, solved(kept.norm, kept.u), SOLVED)
        status = ended(xp, status, ~xp.isfinite(norm), DIVERGED)
        status = ended(xp, status, stalled & (kept.norm <= xp.finfo(norm.dtype).eps ** 0.5 * first), INACCURATE)
        status = ended(xp, status, kept.iterations >= solver.max_iterations, ITERATION_LIMIT)
        status = xp.where((status == RUNNING) & stalled, found.failure, status)
        return advanced(xp, running, kept._replace(status=status), at)

    status = ended(xp, counter(xp, first, RUNNING), solved(first, 0 * rhs), SOLVED)
    status = ended(xp, status, ~xp.isfinite(first), DIVERGED)
    start = Refined(xp.zeros_like(rhs), rhs, first, counter(xp, first), status, xp.full_like(first, float("nan")))
    at = operator.framework.while_loop(lambda at: at.status == RUNNING, body, start)
    u, norm = at.u * scale[..., None], at.norm * scale
    return LinearSolution(u, LinearInfo(at.status, norm, at.iterations, at.condition))
