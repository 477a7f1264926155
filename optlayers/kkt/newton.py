"""Newton's method on the residual map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from optlayers.kkt.factorization import AbstractFactorization, SingularMatrixError
from optlayers.kkt.linear_solve import LinearSystem
from optlayers.kkt.residual_map import evaluate
from optlayers.kkt.symmetric_system import SymmetricSystem
from optlayers.program import ConeProgram

STEP_LENGTHS = (1.0, 0.5, 0.25, 0.1, 0.01)
"""Step lengths tried, in this order."""

SUFFICIENT_DECREASE = 0.1
"""A step of length t must reduce the relative residual by the factor 1 - SUFFICIENT_DECREASE t."""

POLISH_ACCURACY = 1e-12
"""Relative residual to which the linear system of a last step is solved, by pivoting where it is ill-conditioned."""

POLISH_DECREASE = 0.5
"""A last step counts if it reduces the residual by this factor; what is less is rounding."""

ROUNDING_LEVEL = 2.0
"""A residual that a step solved to rounding changes by less than this factor is itself at the level of rounding."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Iterate:
    """A point (x, v) with its relative residual, and the number of steps that led to it."""

    x: Float[np.ndarray, " n"]
    v: Float[np.ndarray, " m"]
    residual: float
    steps: int


def newton(
    system: SymmetricSystem,
    factorization: AbstractFactorization,
    program: ConeProgram,
    start: Iterate,
    target: float,
    limit: int,
) -> Iterate:
    """z <- z - t dR^-1 R(z) until the relative residual is at most `target` or no step length reduces it.

    R is semismooth (piecewise linear for polyhedral cones), so that from a point with the right active set one step
    arrives (Ali, Wong and Kolter, 2017). One step at least is tried: a small residual says little of the point where
    the system is ill-conditioned. Never returns a point with a residual larger than that of `start` and `target`.
    """
    cones = program.structure.cones
    x, v = start.x, start.v
    residual = evaluate(program, x, v)
    for step in range(limit):
        relative = residual.relative
        if step > 0 and relative <= target:
            return Iterate(x, v, relative, step)
        D = cones.derivative(np, v)
        try:
            linear = LinearSystem(system, factorization, program, D)
        except SingularMatrixError:
            return Iterate(x, v, relative, step)
        dx, w = linear.direction(-residual.dual, -residual.primal)
        dv = program.A @ dx + w + residual.primal
        for t in STEP_LENGTHS:
            trial = evaluate(program, x + t * dx, v + t * dv)
            if trial.relative < (1 - SUFFICIENT_DECREASE * t) * relative or trial.relative <= target:
                x, v, residual = x + t * dx, v + t * dv, trial
                break
        else:
            return Iterate(x, v, relative, step)
    return Iterate(x, v, residual.relative, limit)


def polish(
    system: SymmetricSystem,
    factorization: AbstractFactorization,
    program: ConeProgram,
    start: Iterate,
    target: float,
    limit: int,
) -> Iterate:
    """Full Newton steps, their systems solved to rounding, while they reduce the residual by `POLISH_DECREASE`.

    The error of x is the residual times the condition of the system. Where that is large, the steps of `newton`, whose
    systems are solved coarsely, stall at a small residual with a large error. So the first step counts also where the
    residual is at the level of rounding before and after it.
    """
    cones = program.structure.cones
    x, v = start.x, start.v
    residual = evaluate(program, x, v)
    for step in range(limit):
        try:
            linear = LinearSystem(system, factorization, program, cones.derivative(np, v))
        except SingularMatrixError:
            return Iterate(x, v, residual.relative, step)
        found = linear.solve(-residual.dual[:, None], -residual.primal[:, None], POLISH_ACCURACY)
        dx, w = found.x[:, 0], found.w[:, 0]
        moved = x + dx, v + (program.A @ dx + w + residual.primal)
        trial = evaluate(program, *moved)
        reduced = trial.relative <= max(POLISH_DECREASE * residual.relative, target)
        if not (reduced or (step == 0 and trial.relative <= ROUNDING_LEVEL * residual.relative)):
            return Iterate(x, v, residual.relative, step)
        (x, v), residual = moved, trial
        if residual.relative <= target or not reduced:
            return Iterate(x, v, residual.relative, step + 1)
    return Iterate(x, v, residual.relative, limit)
