"""From a coarse point of any solver to an exact one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from optlayers.errors import Status
from optlayers.kkt.certificate import proves_infeasible, proves_unbounded
from optlayers.kkt.equilibration import Equilibrated, equilibrate
from optlayers.kkt.factorization import AbstractFactorization
from optlayers.kkt.newton import Iterate, newton, polish
from optlayers.kkt.proximal import proximal_step
from optlayers.kkt.residual_map import evaluate
from optlayers.kkt.symmetric_system import SymmetricSystem
from optlayers.program import ConeProgram, Point

NEAR_LIMIT = 5
"""Most proximal steps from a point that is accurate already."""


@final
@dataclass(frozen=True)
class Refinement:
    """How far and by what means a point is refined.

    tolerance: the relative KKT residual (`Residual.relative`) at which a point counts as solved.
    target: the residual at which refinement stops, in equilibrated variables; below `tolerance`, since one more Newton
        step costs little and reaches rounding.
    stalled: the residual above which proximal steps follow where Newton's method ends, a few of them where
        `tolerance` is reached already: more often than not the active set is not the right one yet.
    newton_limit: most Newton steps in a row.
    proximal_limit: most proximal steps.
    polish_limit: most Newton steps by pivoting, where `target` is not reached.
    first_weight, weight_factor, last_weight: rho = delta of the first proximal step, its factor from step to step, and
        the smallest weight. Weak first steps find the active set; small weights make the last steps nearly exact.
    """

    tolerance: float = 1e-9
    target: float = 1e-14
    stalled: float = 1e-12
    newton_limit: int = 20
    proximal_limit: int = 40
    polish_limit: int = 5
    first_weight: float = 1e-2
    weight_factor: float = 0.3
    last_weight: float = 1e-7

    def near(self) -> Refinement:
        """The settings for a point that is accurate already: a few proximal steps at the smallest weight."""
        return dataclasses.replace(
            self, proximal_limit=min(NEAR_LIMIT, self.proximal_limit), first_weight=self.last_weight
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """The refined (x, v), y = Pi(v), its relative residual (the larger of those on the program and on the equilibrated
    one), and the steps taken.

    claim: INFEASIBLE or UNBOUNDED if the proximal steps drift along a certificate of it, else None.
    """

    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " m"]
    v: Float[np.ndarray, " m"]
    residual: float
    newton_steps: int
    proximal_steps: int
    claim: Status | None


def refine(system: SymmetricSystem, program: ConeProgram, point: Point, settings: Refinement) -> Refined:
    """Newton's method from `point`; where it stalls, proximal steps until Newton's method arrives, and in the end a few
    Newton steps by pivoting where rounding is not reached.

    Check `residual` against `settings.tolerance`: above it, it is at most that of `point`.
    """
    scaled = equilibrate(program)
    x, v = point.x / scaled.columns, scaled.scale_v(point.y - point.s)
    start = Iterate(x, v, evaluate(scaled.program, x, v).relative, 0)
    with system.borrow() as factorization:
        best = newton(system, factorization, scaled.program, start, settings.target, settings.newton_limit)
        newton_steps, proximal_steps, claim = best.steps, 0, None
        if best.residual > settings.stalled:
            near = _unscaled(program, scaled, best).residual <= settings.tolerance
            candidate, claim = _proximal(
                system, factorization, scaled.program, start, settings.near() if near else settings
            )
            proximal_steps = candidate.steps
            if candidate.residual < best.residual:
                best = candidate
        found = _unscaled(program, scaled, best)
        if found.residual > settings.target:
            polished = polish(system, factorization, scaled.program, best, settings.target, settings.polish_limit)
            again = _unscaled(program, scaled, polished)
            if again.residual <= max(found.residual, settings.tolerance):
                found, newton_steps = again, newton_steps + polished.steps
    return dataclasses.replace(found, newton_steps=newton_steps, proximal_steps=proximal_steps, claim=claim)


def _proximal(
    system: SymmetricSystem,
    factorization: AbstractFactorization,
    program: ConeProgram,
    start: Iterate,
    settings: Refinement,
) -> tuple[Iterate, Status | None]:
    """The best point found, and what the drift of the iterates proves if there is no solution.

    Without a solution, the differences of the iterates tend to a certificate (Banjac et al., 2019).
    """
    weight = settings.first_weight
    current, best, claim = start, start, None
    for _ in range(settings.proximal_limit):
        stepped = proximal_step(system, factorization, program, current, weight)
        if stepped is None:
            break
        claim = _proved_by_drift(program, current, stepped)
        current = stepped
        if claim is not None:
            break
        polished = newton(system, factorization, program, current, settings.target, settings.newton_limit)
        best = min(best, Iterate(polished.x, polished.v, polished.residual, current.steps), key=lambda z: z.residual)
        if best.residual <= settings.target:
            break
        weight = max(weight * settings.weight_factor, settings.last_weight)
    return Iterate(best.x, best.v, best.residual, current.steps), claim


def _proved_by_drift(program: ConeProgram, before: Iterate, after: Iterate) -> Status | None:
    cones = program.structure.cones
    if proves_infeasible(program, cones.project_dual(np, after.v) - cones.project_dual(np, before.v)):
        return Status.INFEASIBLE
    return Status.UNBOUNDED if proves_unbounded(program, after.x - before.x) else None


def _unscaled(program: ConeProgram, scaled: Equilibrated, z: Iterate) -> Refined:
    """The point in the program's own variables, with the larger of its relative residuals in these and the
    equilibrated ones."""
    x, v = z.x * scaled.columns, scaled.unscale_v(z.v)
    own = evaluate(program, x, v)
    return Refined(x, own.y, v, max(z.residual, own.relative), 0, 0, None)
