"""Points of the central path: the optimality conditions with a smoothed projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from optlayers.arrays import Vector
from optlayers.cones import BlockDerivative, Dual, Exponential, Power
from optlayers.errors import DerivativeError
from optlayers.kkt.factorization import AbstractFactorization, SingularMatrixError
from optlayers.kkt.linear_solve import LinearSystem
from optlayers.kkt.linearization import Linearization
from optlayers.kkt.symmetric_system import SymmetricSystem
from optlayers.program import ConeProgram

FIRST_MU = 1.0
"""The path is followed from this barrier parameter, or from mu if that is larger."""

MU_FACTOR = 0.2
"""From one parameter to the next it falls by this factor."""

SHORTEST_STEP = 1e-8
"""A step of Newton's method that must be shorter than this has failed."""

SUFFICIENT_DECREASE = 1e-4
"""A step of length t must reduce the residual by the factor 1 - SUFFICIENT_DECREASE t."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class CentralPoint:
    """The linearization at the point, with the smoothed derivative for D, its relative residual, and the steps.

    error: an estimate of the relative error of D by rounding.
    """

    linearization: Linearization
    residual: float
    steps: int
    error: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Iterate:
    """(x, v) with y and D of the smoothed projection, and the residuals of

    Px + A'y + q = 0,   Ax + y - v - b = 0.
    """

    x: Float[np.ndarray, " n"]
    v: Float[np.ndarray, " m"]
    y: Float[np.ndarray, " m"]
    D: BlockDerivative
    dual: Float[np.ndarray, " n"]
    primal: Float[np.ndarray, " m"]

    @property
    def size(self) -> float:
        """The norm of the residuals."""
        return float(np.sqrt(self.dual @ self.dual + self.primal @ self.primal))


def central_point(
    system: SymmetricSystem, solution: Linearization, v: Vector, mu: float, tolerance: float, max_iterations: int
) -> CentralPoint:
    """The point of the central path with parameter mu, by Newton's method along the path, from the solution outwards.

    `system` is the symmetric system of the smoothed derivative; the residual is relative to the largest of the data.
    """
    scaled = solution.scaled
    program = scaled.program
    scale = max(1.0, *(float(np.abs(part).max(initial=0.0)) for part in (program.q, program.b)))
    current = _evaluate(program, solution.x / scaled.columns, scaled.scale_v(v), max(mu, FIRST_MU))
    at, steps = max(mu, FIRST_MU), 0
    with system.borrow() as factorization:
        while True:
            current, taken = _newton(
                system, factorization, program, current, at, tolerance * scale, max_iterations - steps
            )
            steps += taken
            if at == mu or steps >= max_iterations:
                break
            at = max(mu, at * MU_FACTOR)
            current = _evaluate(program, current.x, current.v, at)
    if at != mu:
        current = _evaluate(program, current.x, current.v, mu)
    linearization = Linearization(
        solution.program, current.x * scaled.columns, current.y * scaled.rows, scaled, current.D, 0
    )
    return CentralPoint(linearization, current.size / scale, steps, _rounding_error(program, current.v, mu))


def _rounding_error(program: ConeProgram, v: Vector, mu: float) -> float:
    """eps |v|^2 / mu over the exponential and power cones, whose barriers are evaluated at points that close to the
    boundary; the other cones' smoothed projections have closed forms without cancellation."""
    sizes = [0.0]
    for run in program.structure.cones.runs:
        cone = run.cone.cone if isinstance(run.cone, Dual) else run.cone
        if isinstance(cone, Exponential | Power):
            sizes.append(float((run.take(np, v) ** 2).sum(axis=-1).max(initial=0.0)))
    return float(np.finfo(np.float64).eps * max(sizes) / mu)


def _newton(
    system: SymmetricSystem,
    factorization: AbstractFactorization,
    program: ConeProgram,
    current: _Iterate,
    mu: float,
    target: float,
    limit: int,
) -> tuple[_Iterate, int]:
    """Newton's method with backtracking until the residual is below `target`, and the steps taken."""
    for step in range(limit):
        if current.size <= target:
            return current, step
        try:
            linear = LinearSystem(system, factorization, program, current.D)
        except SingularMatrixError:
            return current, step
        dx, w = linear.direction(-current.dual, -current.primal)
        dv = program.A @ dx + w + current.primal
        t = 1.0
        while t > SHORTEST_STEP:
            trial = _evaluate(program, current.x + t * dx, current.v + t * dv, mu)
            if trial.size <= (1 - SUFFICIENT_DECREASE * t) * current.size:
                break
            t /= 2
        else:
            return current, step
        current = trial
    return current, limit


def _evaluate(program: ConeProgram, x: Vector, v: Vector, mu: float) -> _Iterate:
    try:
        with np.errstate(all="ignore"):
            y, D = program.structure.cones.smoothed(np, v, mu)
    except np.linalg.LinAlgError:
        raise DerivativeError(
            f"the smoothed projection with mu={mu:.0e} is beyond rounding for multipliers and slacks of size "
            f"{np.abs(v).max(initial=0.0):.0e}. Choose a larger mu, or scale the problem's data."
        ) from None
    dual = program.P @ x + program.A_transposed @ y + program.q
    return _Iterate(x, v, y, D, dual, program.A @ x + y - v - program.b)
