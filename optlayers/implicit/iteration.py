"""The loop that all iterations share: each element of a batch runs until it has converged, and then stands still."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, final

from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.report import DIVERGED, ITERATION_LIMIT, RUNNING, SOLVED, Info
from optlayers.implicit.solvers.abstract import AbstractIteration, Memory
from optlayers.implicit.stopping import largest, stop_of


@final
class Progress(NamedTuple):
    """Where an iteration stands: the point z (*B, n), its residual F(z), what the solver remembers, and, for each
    element, the report and the norm of the first residual."""

    z: Array
    residual: Array
    memory: Memory
    info: Info
    first: Array


def start(problem: Problem, solver: AbstractIteration, z: Array) -> Progress:
    """At the initial point."""
    xp, residual = problem.xp, problem.residual(z)
    norm = problem.framework.constant(largest(xp, residual))
    info = Info(
        status=xp.full_like(norm, RUNNING, dtype=xp.int32),
        residual=norm,
        iterations=xp.zeros_like(norm, dtype=xp.int32),
        contraction=xp.full_like(norm, float("nan")),
    )
    info = _judge(problem, solver, z, norm, info)
    return Progress(z, residual, solver.start(problem, z, residual), info, norm)


def advance(problem: Problem, solver: AbstractIteration, at: Progress, moving: Array) -> Progress:
    """One iteration of the elements (*B) that are `moving`."""
    xp = problem.xp
    z, memory = solver.step(problem, at.z, at.residual, at.memory)
    z = xp.where(moving[..., None], z, at.z)
    residual = xp.where(moving[..., None], problem.residual(z), at.residual)
    memory = tuple(_where(xp, moving, new, old) for new, old in zip(memory, at.memory, strict=True))
    norm = problem.framework.constant(largest(xp, residual))
    rate = norm / xp.where(at.info.residual > 0, at.info.residual, xp.ones_like(norm))
    smoothed = xp.where(at.info.iterations > 0, xp.sqrt(rate * xp.where(rate > 0, at.info.contraction, 0 * rate)), rate)
    info = Info(
        status=at.info.status,
        residual=norm,
        iterations=at.info.iterations + moving,
        contraction=xp.where(moving, smoothed, at.info.contraction),
    )
    info = _judge(problem, solver, problem.framework.constant(z), at.first, info)
    return Progress(z, residual, memory, info, at.first)


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
    """As many iterations of each element as it is `moving`."""
    result: Progress = problem.framework.while_loop(moving, lambda at: advance(problem, solver, at, moving(at)), at)
    return result


def _judge(problem: Problem, solver: AbstractIteration, z: Array, first: Array, info: Info) -> Info:
    xp, norm = problem.xp, info.residual
    bound = stop_of(solver.stop).bound(solver.tolerance, first, largest(xp, z))
    status = xp.where(info.iterations >= solver.max_iterations, ITERATION_LIMIT, RUNNING)
    status = xp.where(~xp.isfinite(norm) | (norm > solver.divergence * first), DIVERGED, status)
    status = xp.where(norm <= bound, SOLVED, status)
    status = xp.where(info.status == RUNNING, status, info.status)
    return info._replace(status=status)


def _where(xp: Any, mask: Array, new: Array, old: Array) -> Array:
    return xp.where(mask.reshape(*mask.shape, *(1,) * (len(new.shape) - len(mask.shape))), new, old)
