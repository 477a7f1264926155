"""Solving one cone program exactly: a solver's point, refined; where that falls short, a tighter solve."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from optlayers.errors import Status
from optlayers.kkt import (
    Normalized,
    Refinement,
    SymmetricSystem,
    balance,
    evaluate,
    normalize,
    proves_infeasible,
    proves_unbounded,
    refine,
    relative_residual,
)
from optlayers.program import ConeProgram, Point, SolverResult
from optlayers.solvers import AbstractSolver

TIGHTENINGS = (1e-3, 1e-6)
"""Factors on the solver's accuracy of the further solves made where refinement stalls."""

SUBSTANTIAL = 0.1
"""Factor by which a further solve must reduce the residual of a solution: less says nothing of its error."""

FINEST_ACCURACY = 1e-12
"""No solver is asked for more accuracy than this."""

LARGEST_RESIDUAL = 1e-3
"""A point with a larger relative residual is no solution, whatever the solver says: it is an error, not a warning."""

_CLAIMS = (Status.INFEASIBLE, Status.UNBOUNDED)
"""What may be claimed instead of a solution; a claim counts only with a certificate that proves it."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """How a program was solved.

    status: SOLVED if the relative KKT residual is at most the refinement's tolerance.
    residual: that residual, on the program itself and in units of its own (`optlayers.kkt.residual_map.Residual`).
    detail: the last word of the solver.
    solver_iterations, newton_steps, proximal_steps: the work of the solver and of the refinement, in the last attempt.
    """

    status: Status
    residual: float
    detail: str
    solver_iterations: int
    newton_steps: int
    proximal_steps: int


@final
@dataclass(frozen=True, slots=True, eq=False)
class ExactSolution:
    """(x, y, v = y - s) and how it was found; meaningful if `report.status.has_point`.

    y = Pi(v), and more exactly so than v tells where s is much larger in a curved cone.
    """

    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " m"]
    v: Float[np.ndarray, " m"]
    report: Report


def solve_exactly(
    program: ConeProgram,
    solver: AbstractSolver,
    system: SymmetricSystem,
    refinement: Refinement,
    direct: bool = False,
) -> ExactSolution:
    """The solution by `solver`, refined to `refinement.tolerance`; if `direct`, by refinement from zero if it arrives.

    The solver and refinement get the program in units of its own (`optlayers.kkt.normalization`). Where refinement
    stalls, the solver goes on from where it is at a tighter accuracy. Claims that there is no solution are believed
    only if their certificate proves them, and a claim of a solution only with a residual that shows it.
    """
    normalized = normalize(program)
    found = _solve(normalized.program, solver, system, refinement, direct)
    return _in_original_units(program, normalized, found, refinement)


def _solve(
    program: ConeProgram, solver: AbstractSolver, system: SymmetricSystem, refinement: Refinement, direct: bool
) -> ExactSolution:
    if direct:
        best = _refine(program, _nothing(program), system, refinement)
        if _is_final(best.report, program, refinement):
            return best
    result = solver.solve(program, None)
    best = _refine(program, result, system, refinement)
    for factor in TIGHTENINGS:
        if _is_final(best.report, program, refinement):
            break
        tightened = solver.with_accuracy(max(solver.accuracy * factor, FINEST_ACCURACY))
        result = tightened.solve(program, _start(program, result))
        again = _refine(program, result, system, refinement)
        solved = best.report.status is Status.SOLVED
        claimed = again.report.status in _CLAIMS and not solved
        if claimed or again.report.residual < best.report.residual * (SUBSTANTIAL if solved else 1.0):
            best = again
    return best


def _is_final(report: Report, program: ConeProgram, refinement: Refinement) -> bool:
    """Whether no tighter solve is worth making. With curved cones one is where refinement stalled, also below its
    tolerance: from a better point it goes on, and a solution near a kink may need that."""
    enough = refinement.stalled if _is_curved(program) else refinement.tolerance
    return report.status in _CLAIMS or report.residual <= enough


def _is_curved(program: ConeProgram) -> bool:
    return not all(run.cone.separable for run in program.structure.cones.runs)


def _in_original_units(
    program: ConeProgram, normalized: Normalized, found: ExactSolution, refinement: Refinement
) -> ExactSolution:
    """The solution of the program, with the larger of its residuals in both units.

    They differ by rounding, which is seen where y and s are of very different size in a curved cone: v = y - s holds
    the smaller one to the rounding of the larger.
    """
    x, y, v = normalized.original(found.x, found.y, found.v)
    report = found.report
    if report.status.has_point and _is_curved(program):
        residual = max(report.residual, evaluate(program, x, v).relative)
        if residual > refinement.tolerance:
            inaccurate = residual <= LARGEST_RESIDUAL
            status = Status.INACCURATE if inaccurate else Status.NUMERICAL_ERROR
            report = dataclasses.replace(report, status=status)
        report = dataclasses.replace(report, residual=residual)
    return ExactSolution(x, y, v, report)


def _refine(
    program: ConeProgram, result: SolverResult, system: SymmetricSystem, refinement: Refinement
) -> ExactSolution:
    start = _finite(result.point)
    balanced = balance(program, start)
    refined = refine(system, balanced.program, balanced.point(start), refinement)
    if refined.residual <= refinement.tolerance:
        status = Status.SOLVED
    elif _proved(program, result):
        status = result.status
    elif refined.claim is not None:
        status = refined.claim
    elif result.status.has_point and refined.residual <= LARGEST_RESIDUAL:
        status = Status.INACCURATE
    elif result.status.has_point or result.status in _CLAIMS:
        status = Status.NUMERICAL_ERROR
    else:
        status = result.status
    detail = result.detail
    if status is Status.NUMERICAL_ERROR:
        detail = f"{detail}; the relative KKT residual is {refined.residual:.1e}"
    if status is refined.claim and status is not result.status:
        detail = f"{detail}, but refinement found a certificate"
    report = Report(status, refined.residual, detail, result.iterations, refined.newton_steps, refined.proximal_steps)
    return ExactSolution(*balanced.original(refined.x, refined.y, refined.v), report)


def _nothing(program: ConeProgram) -> SolverResult:
    zero = Point(np.zeros(program.structure.n), np.zeros(program.structure.m), np.zeros(program.structure.m))
    return SolverResult(zero, Status.SOLVED, "solved directly, without a solver", 0)


def _proved(program: ConeProgram, result: SolverResult) -> bool:
    if result.status is Status.INFEASIBLE:
        return proves_infeasible(program, result.point.y)
    return result.status is Status.UNBOUNDED and proves_unbounded(program, result.point.x)


def _start(program: ConeProgram, result: SolverResult) -> Point | None:
    """The last iterate, if it can start another solve."""
    return result.point if np.isfinite(relative_residual(program, result.point)) else None


def _finite(point: Point) -> Point:
    """The point with zeros for what is not finite, so that refinement has somewhere to start."""
    return Point(*(np.nan_to_num(part, nan=0.0, posinf=0.0, neginf=0.0) for part in (point.x, point.y, point.s)))
