"""The proximal method of multipliers with semismooth Newton steps: from any point to the right active set.

One outer step from (x_k, y_k) with weights rho, delta > 0 solves the strongly monotone system

    P x + q + A'y + rho (x - x_k) = 0,    y = Pi(y_k + (A x - b) / delta),

the optimality condition of the strongly convex function

    phi(x) = 1/2 x'Px + q'x + rho/2 |x - x_k|^2 + delta/2 |Pi(y_k + (A x - b) / delta)|^2.

Its Newton system is the symmetric system with rho and delta on its diagonal, which is never singular; a line search on
phi makes the inner iteration converge from anywhere, and the outer one converges to a solution whenever there is one
(Rockafellar, 1976; Hermans, Themelis and Patrinos, 2022).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from optlayers.arrays import Vector
from optlayers.kkt.ldl import Ldl, SingularMatrixError
from optlayers.kkt.newton import Iterate
from optlayers.kkt.residual_map import evaluate
from optlayers.kkt.symmetric_system import SymmetricSystem
from optlayers.program import ConeProgram

INNER_LIMIT = 100
"""Most Newton steps for one proximal step."""

INNER_REFINEMENTS = 2
"""Steps of iterative refinement for each Newton step."""

LINE_SEARCH_TOLERANCE = 1e-14
"""Accuracy of the step length: phi has kinks of curvature 1/delta, so that a loose search loses the descent."""

LONGEST_STEP = 1e3
"""Steps longer than Newton's own are tried up to this length."""


def proximal_step(
    system: SymmetricSystem, ldl: Ldl, program: ConeProgram, start: Iterate, weight: float
) -> Iterate | None:
    """One outer step with rho = delta = `weight`; None if it broke down."""
    cones, P, A = program.structure.cones, program.P, program.A
    anchor_x, anchor_y = start.x, cones.project_dual(np, start.v)
    x, y = anchor_x, anchor_y
    for inner in range(INNER_LIMIT):
        u = anchor_y + (A @ x - program.b) / weight
        y = cones.project_dual(np, u)
        D = cones.derivative(np, u).entries
        smooth = P @ x + program.q + weight * (x - anchor_x)
        gradient = smooth + program.A_transposed @ y
        try:
            dx, dy = _newton_direction(system, ldl, program, D, gradient, weight)
        except SingularMatrixError:
            return None
        du = A @ dx / weight
        if not (np.isfinite(dx).all() and np.isfinite(du).all()):
            return None
        if np.array_equal(cones.derivative(np, u + du).entries, D):
            return _iterate(program, x + dx, y + dy, start.steps + inner + 1)
        x = x + _step_length(program, u, du, dx, smooth, weight) * dx
    u = anchor_y + (A @ x - program.b) / weight
    return _iterate(program, x, cones.project_dual(np, u), start.steps + INNER_LIMIT)


def _newton_direction(
    system: SymmetricSystem, ldl: Ldl, program: ConeProgram, D: Vector, gradient: Vector, weight: float
) -> tuple[Vector, Vector]:
    """dx and dy = D A dx / weight with (P + rho I) dx + A' dy = -gradient."""
    n = program.structure.n
    active = D > 0
    # y = Pi(u) moves by D du, du = A dx / delta; in the symmetric system this is the compliance delta D^-1.
    ldl.factor(system.values(program, np.where(active, 1.0, 0.0), weight, weight))
    right = np.concatenate([-gradient, np.zeros(program.structure.m)])
    solution = ldl.solve(right[:, None])[:, 0]
    for _ in range(INNER_REFINEMENTS):
        dx, dy = solution[:n], np.where(active, solution[n:], 0.0)
        upper = -gradient - (program.P @ dx + weight * dx + program.A_transposed @ dy)
        lower = np.where(active, weight * dy - program.A @ dx, 0.0)
        solution = solution + ldl.solve(np.concatenate([upper, lower])[:, None])[:, 0]
    return solution[:n], np.where(active, solution[n:], 0.0)


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


def _iterate(program: ConeProgram, x: Vector, y: Vector, steps: int) -> Iterate:
    # Complementary rows: the multiplier where it is positive, the slack elsewhere.
    slack = program.b - program.A @ x
    D = program.structure.cones.derivative(np, y).entries
    v: Vector = np.where(D > 0, y, -slack)
    return Iterate(x, v, evaluate(program, x, v).relative, steps)
