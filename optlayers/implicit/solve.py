"""From an equation to its solution, differentiated as the plan says."""

from __future__ import annotations

from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.iteration import Progress, advance, advance_while, run, running, start
from optlayers.implicit.report import Info
from optlayers.implicit.settings import Plan, Semantics


def solve(problem: Problem, z: Array, plan: Plan) -> tuple[Array, Info]:
    """The solution from z (*B, n), and how it was found."""
    plan.solver.check(problem, z)
    if plan.semantics is Semantics.IMPLICIT:
        return problem.framework.solve(problem, z, plan.solver, plan.rule)
    differentiate = _unrolled if plan.semantics is Semantics.UNROLLED else _one_step
    z, info = differentiate(problem, z, plan)
    found = problem.framework.constant(z)
    judged = problem.framework.judge(found, info, plan.rule.forward_policy)
    return z + problem.framework.constant(judged - found), info


def _unrolled(problem: Problem, z: Array, plan: Plan) -> tuple[Array, Info]:
    framework = problem.framework
    limit = plan.solver.max_iterations
    if plan.last is None:
        at = start(problem, plan.solver, z)
    else:
        limit = min(limit, plan.last)
        at = _before_last(problem.constant(), framework.constant(z), plan, limit)
        # The first of the last iterations begins with this residual, and depends on theta by it.
        at = at._replace(residual=problem.residual(at.z))

    def round(at: Progress) -> Progress:
        return advance(problem, plan.solver, at, running(at))

    at = framework.unrolled_loop(running, round, at, limit, plan.checkpoint)
    return at.z, at.info


def _before_last(problem: Problem, z: Array, plan: Plan, last: int) -> Progress:
    """Where the last iterations begin, each element's own; found by running all and then all but these."""
    _, info = run(problem, plan.solver, z)

    def before_last(at: Progress) -> Array:
        return at.info.iterations < info.iterations - last

    return advance_while(problem, plan.solver, before_last, start(problem, plan.solver, z))


def _one_step(problem: Problem, z: Array, plan: Plan) -> tuple[Array, Info]:
    framework, constant, once = problem.framework, problem.constant(), plan.solver.at_solution()
    found, info = run(constant, plan.solver, framework.constant(z))
    found = framework.constant(found)
    residual = problem.residual(found)
    memory = once.start(problem, found, residual)
    stepped = once.step(problem, found, residual, memory, residual[..., 0] == residual[..., 0]).z
    return found + (stepped - framework.constant(stepped)), info
