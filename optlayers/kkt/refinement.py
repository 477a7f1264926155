"""From a coarse point of any solver to an exact one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from optlayers.kkt.equilibration import Equilibrated, equilibrate
from optlayers.kkt.ldl import Ldl
from optlayers.kkt.newton import Iterate, newton
from optlayers.kkt.proximal import proximal_step
from optlayers.kkt.residual_map import evaluate
from optlayers.kkt.symmetric_system import SymmetricSystem
from optlayers.program import ConeProgram, Point


@final
@dataclass(frozen=True)
class Refinement:
    """How far and by what means a point is refined.

    tolerance: the relative KKT residual (`Residual.relative`) at which a point counts as solved.
    target: the residual at which refinement stops, in equilibrated variables; below `tolerance`, since one more Newton
        step costs little and reaches rounding.
    newton_limit: most Newton steps in a row.
    proximal_limit: most proximal steps.
    first_weight, weight_factor, last_weight: rho = delta of the first proximal step, its factor from step to step, and
        the smallest weight. Weak first steps find the active set; small weights make the last steps nearly exact.
    """

    tolerance: float = 1e-9
    target: float = 1e-14
    newton_limit: int = 20
    proximal_limit: int = 40
    first_weight: float = 1e-2
    weight_factor: float = 0.3
    last_weight: float = 1e-7


@final
@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """The refined (x, v), its relative residual on the original program, and the steps taken."""

    x: Float[np.ndarray, " n"]
    v: Float[np.ndarray, " m"]
    residual: float
    newton_steps: int
    proximal_steps: int


def refine(system: SymmetricSystem, program: ConeProgram, point: Point, settings: Refinement) -> Refined:
    """Newton's method from `point`; where it stalls, proximal steps until Newton's method arrives.

    The result is never worse than `point`: check `residual` against `settings.tolerance`.
    """
    scaled = equilibrate(program)
    x, v = point.x / scaled.columns, scaled.scale_v(point.y - point.s)
    start = Iterate(x, v, evaluate(scaled.program, x, v).relative, 0)
    with system.borrow() as ldl:
        best = newton(system, ldl, scaled.program, start, settings.target, settings.newton_limit)
        newton_steps, proximal_steps = best.steps, 0
        if _residual(program, scaled, best) > settings.tolerance:
            candidate = _proximal(system, ldl, scaled.program, start, settings)
            proximal_steps = candidate.steps
            if candidate.residual < best.residual:
                best = candidate
    return Refined(
        best.x * scaled.columns,
        scaled.unscale_v(best.v),
        _residual(program, scaled, best),
        newton_steps,
        proximal_steps,
    )


def _proximal(system: SymmetricSystem, ldl: Ldl, program: ConeProgram, start: Iterate, settings: Refinement) -> Iterate:
    weight = settings.first_weight
    current, best = start, start
    for _ in range(settings.proximal_limit):
        stepped = proximal_step(system, ldl, program, current, weight)
        if stepped is None:
            break
        current = stepped
        polished = newton(system, ldl, program, current, settings.target, settings.newton_limit)
        best = min(best, Iterate(polished.x, polished.v, polished.residual, current.steps), key=lambda z: z.residual)
        if best.residual <= settings.target:
            break
        weight = max(weight * settings.weight_factor, settings.last_weight)
    return Iterate(best.x, best.v, best.residual, current.steps)


def _residual(program: ConeProgram, scaled: Equilibrated, z: Iterate) -> float:
    return evaluate(program, z.x * scaled.columns, scaled.unscale_v(z.v)).relative
