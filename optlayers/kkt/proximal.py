"""The proximal method of multipliers with semismooth Newton steps: from any point to the right active set.

One outer step from (x_k, y_k) with weights rho, delta > 0 solves the strongly monotone system

    P x + q + A'y + rho (x - x_k) = 0,    y = Pi(y_k + (A x - b) / delta),

the optimality condition of the strongly convex function

    phi(x) = 1/2 x'Px + q'x + rho/2 |x - x_k|^2 + delta/2 |Pi(y_k + (A x - b) / delta)|^2.

Its Newton system is the symmetric system with rho and delta on its diagonal, which is never singular (w = dy = D du
with du = A dx / delta, so that delta takes the place of I - F'F); a line search on
phi makes the inner iteration converge from anywhere, and the outer one converges to a solution whenever there is one
(Rockafellar, 1976; Hermans, Themelis and Patrinos, 2022).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from optlayers.arrays import Vector
from optlayers.cones import BlockDerivative, Diagonal
from optlayers.kkt.factorization import AbstractFactorization, SingularMatrixError
from optlayers.kkt.newton import Iterate
from optlayers.kkt.residual_map import evaluate
from optlayers.kkt.symmetric_system import SymmetricSystem
from optlayers.program import ConeProgram

INNER_LIMIT = 100
"""Most Newton steps for one proximal step."""

INNER_TOLERANCE = 1e-11
"""The gradient of phi, relative to the largest of its terms, at which a proximal step ends where cones are curved; on
polyhedral cones it ends exactly."""

INNER_REFINEMENTS = 2
"""Steps of iterative refinement for each Newton step."""

MULTIPLIER_REGULARIZATION = 1e-7
"""Regularization of the multipliers of second-order cones in the factorization; refinement removes it."""

LINE_SEARCH_TOLERANCE = 1e-14
"""Accuracy of the step length: phi has kinks of curvature 1/delta, so that a loose search loses the descent."""

LONGEST_STEP = 1e3
"""Steps longer than Newton's own are tried up to this length."""


def proximal_step(
    system: SymmetricSystem, factorization: AbstractFactorization, program: ConeProgram, start: Iterate, weight: float
) -> Iterate | None:
    """One outer step with rho = delta = `weight`; None if it broke down."""
    cones, P, A = program.structure.cones, program.P, program.A
    anchor_x, anchor_y = start.x, cones.project_dual(np, start.v)
    x = anchor_x
    for inner in range(INNER_LIMIT):
        u = anchor_y + (A @ x - program.b) / weight
        y = cones.project_dual(np, u)
        smooth, pull = P @ x + program.q + weight * (x - anchor_x), program.A_transposed @ y
        gradient = smooth + pull
        if _largest(gradient) <= _gradient_tolerance(program, x, smooth, pull, weight):
            return _iterate(program, x, y, u, weight, start.steps + inner)
        D = cones.derivative(np, u)
        try:
            dx, dy = _newton_direction(system, factorization, program, D, gradient, weight)
        except SingularMatrixError:
            return None
        du = A @ dx / weight
        if not (np.isfinite(dx).all() and np.isfinite(du).all()):
            return None
        if _same_piece(D, cones.derivative(np, u + du)):
            return _iterate(program, x + dx, y + dy, u + du, weight, start.steps + inner + 1)
        x = x + _step_length(program, u, du, dx, smooth, weight) * dx
    u = anchor_y + (A @ x - program.b) / weight
    return _iterate(program, x, cones.project_dual(np, u), u, weight, start.steps + INNER_LIMIT)


def _gradient_tolerance(program: ConeProgram, x: Vector, smooth: Vector, pull: Vector, weight: float) -> float:
    """INNER_TOLERANCE of the terms, or where that is larger the rounding of u, which is that of A x / weight."""
    rounding = np.finfo(np.float64).eps * _largest(program.A_magnitude @ np.abs(x)) / weight
    return max(INNER_TOLERANCE * max(_largest(smooth), _largest(pull)), rounding)


def _same_piece(D: BlockDerivative, other: BlockDerivative) -> bool:
    """Whether Pi is linear between two points: all cones are polyhedral and D is the same."""
    return all(
        isinstance(a.D, Diagonal) and isinstance(b.D, Diagonal) and np.array_equal(a.D.entries, b.D.entries)
        for a, b in zip(D.blocks, other.blocks, strict=True)
    )


def _newton_direction(
    system: SymmetricSystem,
    factorization: AbstractFactorization,
    program: ConeProgram,
    D: BlockDerivative,
    gradient: Vector,
    weight: float,
) -> tuple[Vector, Vector]:
    """dx and dy = D A dx / weight with (P + rho I) dx + A' dy = -gradient."""
    n, m = program.structure.n, program.structure.m
    values = system.fill(program, D, rigid=True).values
    factorization.factor(system.regularized(values, system.regularization(weight, weight, MULTIPLIER_REGULARIZATION)))
    K = system.matrix(system.regularized(values, system.regularization(weight, weight, 0.0)))
    right = system.right_hand_side(D, -gradient[:, None], np.zeros((m, 1)))
    solution = factorization.solve(right)
    for _ in range(INNER_REFINEMENTS):
        solution = solution + factorization.solve(right - K @ solution)
    return solution[:n, 0], system.multiplier(D, solution)[:, 0]


def _step_length(program: ConeProgram, u: Vector, du: Vector, dx: Vector, smooth: Vector, weight: float) -> float:
    """The minimiser of phi along dx: the root of its nondecreasing derivative."""
    cones = program.structure.cones
    constant = float(dx @ smooth)
    curvature = float(dx @ (program.P @ dx) + weight * (dx @ dx))
    Adx = weight * du

    def slope(t: float) -> float:
        return constant + t * curvature + float(Adx @ cones.project_dual(np, u + t * du))

    longest = 1.0
    while slope(longest) < 0 and longest < LONGEST_STEP:
        longest *= 10
    if not slope(0.0) < 0 < slope(longest):
        return 1.0
    return float(brentq(slope, 0.0, longest, xtol=LINE_SEARCH_TOLERANCE))


def _iterate(program: ConeProgram, x: Vector, y: Vector, u: Vector, weight: float, steps: int) -> Iterate:
    """The iterate (x, y - s). By Moreau y - u is in K and complementary to y, so that s = weight (y - u); in rows of
    their own, where complementarity is seen row by row, the slack itself is nearer."""
    v = y - weight * (y - u)
    slack = program.b - program.A @ x
    for run in program.structure.cones.runs:
        if run.cone.separable:
            rows = slice(run.start, run.stop)
            v[rows] = np.where(run.cone.active(np, y[rows]), y[rows], -slack[rows])
    return Iterate(x, v, evaluate(program, x, v).relative, steps)


def _largest(vector: Vector) -> float:
    return float(np.abs(vector).max(initial=0.0))
