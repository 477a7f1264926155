"""The loop that all iterations share: each element of a batch runs until it has converged, and then stands still."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.linear.elementwise import selected
from optlayers.implicit.report import DIVERGED, ITERATION_LIMIT, NOT_FINITE, RUNNING, SOLVED, STAGNATED, Info
from optlayers.implicit.solvers.abstract import AbstractIteration, Memory
from optlayers.implicit.stopping import largest, stop_of


@final
class Progress(NamedTuple):
    """Where an iteration stands: the point z (*B, n), its residual F(z), what the solver remembers, and, for each
    element, the report, the norms of the first residual and of the smallest one, and how many iterations ago that was.
    """

    z: Array
    residual: Array
    memory: Memory
    info: Info
    first: Array
    smallest: Array
    since_smallest: Array


def start(problem: Problem, solver: AbstractIteration, z: Array) -> Progress:
    """At the initial point."""
    xp, residual = problem.xp, problem.residual(z)
    norm = problem.framework.constant(largest(xp, residual))
    zero = xp.zeros_like(norm, dtype=xp.int32)
    info = Info(
        status=xp.full_like(norm, RUNNING, dtype=xp.int32),
        residual=norm,
        iterations=zero,
        contraction=xp.full_like(norm, float("nan")),
    )
    at = Progress(z, residual, solver.start(problem, z, residual), info, norm, norm, zero)
    return at._replace(info=_judge(problem, solver, at, norm, at.memory))


def advance(
    problem: Problem, solver: AbstractIteration, at: Progress, moving: Array, differentiable: bool = True
) -> Progress:
    """One iteration of the elements (*B) that are `moving`; `differentiable`: F is evaluated at the new point even if
    the step has met it.

    An element whose new residual is not finite keeps its point, the last good one, and ends as diverged.
    """
    xp = problem.xp
    z, memory, residual = solver.step(problem, at.z, at.residual, at.memory, moving)
    z = xp.where(moving[..., None], z, at.z)
    if residual is None or differentiable:
        residual = problem.residual(z)
    norm = problem.framework.constant(largest(xp, residual))
    moved = moving & xp.isfinite(norm)
    z, residual = xp.where(moved[..., None], z, at.z), xp.where(moved[..., None], residual, at.residual)
    reached = xp.where(moved, norm, at.info.residual)
    rate = reached / xp.where(at.info.residual > 0, at.info.residual, xp.ones_like(norm))
    smoothed = xp.where(at.info.iterations > 0, xp.sqrt(rate * xp.where(rate > 0, at.info.contraction, 0 * rate)), rate)
    smaller = reached < at.smallest
    iterations = at.info.iterations + moving
    after = Progress(
        z,
        residual,
        tuple(selected(xp, moved, new, old) for new, old in zip(memory, at.memory, strict=True)),
        Info(at.info.status, reached, iterations, xp.where(moved, smoothed, at.info.contraction)),
        at.first,
        xp.where(smaller, reached, at.smallest),
        xp.where(smaller, 0 * iterations, at.since_smallest + moving),
    )
    return after._replace(info=_judge(problem, solver, after, xp.where(moving, norm, reached), memory))


def running(at: Progress) -> Array:
    """(*B) which elements have not stopped."""
    return at.info.status == RUNNING


def run(problem: Problem, solver: AbstractIteration, z: Array) -> tuple[Array, Info]:
    """The solution from z, and how it was found."""
    at = advance_while(problem, solver, running, start(problem, solver, z))
    return at.z, at.info


def advance_while(
    problem: Problem, solver: AbstractIteration, moving: Callable[[Progress], Array], at: Progress
) -> Progress:
    """As many iterations of each element as it is `moving`, without derivatives."""

    def body(at: Progress) -> Progress:
        return advance(problem, solver, at, moving(at), differentiable=False)

    result: Progress = problem.framework.while_loop(moving, body, at)
    return result


def _judge(problem: Problem, solver: AbstractIteration, at: Progress, norm: Array, memory: Memory) -> Info:
    """The report, with the status of elements that stop here; norm: of the residual that was met, if not finite."""
    xp, info = problem.xp, at.info
    size = largest(xp, problem.framework.constant(at.z))
    tolerance = solver.tolerance_at(float(xp.finfo(norm.dtype).eps))
    bound = stop_of(solver.stop).bound(tolerance, at.first, size)
    limit = xp.full_like(info.status, ITERATION_LIMIT)
    status = xp.where(info.iterations >= solver.max_iterations, limit, xp.full_like(limit, RUNNING))
    if solver.patience is not None:
        status = xp.where(at.since_smallest >= solver.patience, STAGNATED, status)
    status = solver.verdict(problem, at.residual, memory, status)
    status = xp.where(~xp.isfinite(norm) | (norm > solver.divergence * at.first), DIVERGED, status)
    status = xp.where(xp.isfinite(at.first), status, NOT_FINITE)
    status = xp.where(norm <= bound, SOLVED, status)
    status = xp.where(info.status == RUNNING, status, info.status)
    return info._replace(status=status)
