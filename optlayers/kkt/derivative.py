"""The derivative of the solution map (P, q, A, b) -> (x, y), in both modes, from one factorization.

At a solution, R(x, v; P, q, A, b) = 0 gives dR [dx; dv] = -dR/d(data), so

    forward:  right-hand side [ -(dP x + dA'y + dq) ; db - dA x ],   dy = w = D dv;
    reverse:  right-hand side [ g_x ; g_y ], solution (u, t),
              g_P = -1/2 (u x' + x u'),  g_q = -u,  g_A = -(y u' + t x'),  g_b = t,

both of the symmetric system (Amos and Kolter, 2017, for quadratic programs; Agrawal et al., 2019, for cone programs).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from optlayers.arrays import Indices, Mask, Vector
from optlayers.errors import DerivativeError
from optlayers.kkt.equilibration import Equilibrated, equilibrate
from optlayers.kkt.ldl import SingularMatrixError
from optlayers.kkt.linear_solve import LinearSolution, LinearSystem
from optlayers.kkt.residual_map import evaluate
from optlayers.kkt.symmetric_system import SymmetricSystem
from optlayers.program import ConeProgram

LINEAR_TOLERANCE = 1e-12
"""Relative residual to which the linear system of a derivative is solved."""

ACTIVITY_TOLERANCE = 1e-10
"""A row whose multiplier and slack are both below this, relative to the scales of the dual and primal residuals in
equilibrated variables, is weakly active: the cone's documented choice of derivative applies to it."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class DerivativeReport:
    """How well a derivative was computed, and whether it exists.

    residual: relative residual of the linear system, the largest over the vectors multiplied.
    singular: whether some right-hand side was outside the range of the system, so that the least-squares solution of
        minimum norm (in equilibrated variables) was taken.
    weakly_active: the number of weakly active rows.
    """

    residual: float
    singular: bool
    weakly_active: int


@final
class Derivative:
    """The derivative of (x, y) by the data vector (P, q, A, b) at one solution: made by `differentiate`."""

    def __init__(
        self,
        program: ConeProgram,
        x: Vector,
        y: Vector,
        scaled: Equilibrated,
        linear: LinearSystem,
        active: Mask,
        weakly_active: int,
    ) -> None:
        self._program, self._x, self._y = program, x, y
        self._scaled, self._linear = scaled, linear
        self._active, self._weakly_active = active, weakly_active

    def jvp(
        self, d_data: Float[np.ndarray, "k data"]
    ) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k m"], DerivativeReport]:
        """(dx, dy) for each direction of the data."""
        structure, x, y = self._program.structure, self._x, self._y
        P_part, q_part, A_part = structure.data_slices
        dP, dq, dA, db = d_data[:, P_part], d_data[:, q_part], d_data[:, A_part], d_data[:, A_part.stop :]
        right1, right2 = -dq.copy(), db.copy()
        P, A = structure.P, structure.A
        above = np.where(P.rows == P.columns, 0.0, 1.0)
        right1 -= _sum_into(P.rows, dP * x[P.columns], structure.n)
        right1 -= _sum_into(P.columns, dP * above * x[P.rows], structure.n)
        right1 -= _sum_into(A.columns, dA * y[A.rows], structure.n)
        right2 -= _sum_into(A.rows, dA * x[A.columns], structure.m)
        solution = self._solve(right1 * self._scaled.columns, right2 * self._scaled.rows)
        dx, dy = solution.x.T * self._scaled.columns, solution.w.T * self._scaled.rows
        return dx, dy, self._report(solution)

    def vjp(
        self, g_x: Float[np.ndarray, "k n"], g_y: Float[np.ndarray, "k m"]
    ) -> tuple[Float[np.ndarray, "k data"], DerivativeReport]:
        """The cotangents of the data for each pair of cotangents of x and y."""
        solution = self._solve(g_x * self._scaled.columns, g_y * self._scaled.rows)
        return self._cotangent(solution.x.T, solution.w.T), self._report(solution)

    def ambiguity(self) -> Float[np.ndarray, "1 data"] | None:
        """A cotangent of the data that may be added to any result of `vjp`, if there is one: the system is singular.

        Along directions of the data that it does not vanish on, the solution is not differentiable: they move redundant
        constraints apart, or the objective along a direction in which the solution is not unique.
        """
        null = self._linear.null_vector()
        return None if null is None else self._cotangent(null[0][None], null[1][None])

    def _cotangent(
        self, scaled_u: Float[np.ndarray, "k n"], scaled_t: Float[np.ndarray, "k m"]
    ) -> Float[np.ndarray, "k data"]:
        structure, x, y = self._program.structure, self._x, self._y
        u, t = scaled_u * self._scaled.columns, scaled_t * self._scaled.rows
        P, A = structure.P, structure.A
        once = np.where(P.rows == P.columns, 0.5, 1.0)  # an entry above the diagonal stands for two entries of P
        g_P = -once * (u[:, P.rows] * x[P.columns] + u[:, P.columns] * x[P.rows])
        g_A = -(y[A.rows] * u[:, A.columns] + t[:, A.rows] * x[A.columns])
        return np.concatenate([g_P, -u, g_A, t], axis=1)

    def _solve(self, r1: Float[np.ndarray, "k n"], r2: Float[np.ndarray, "k m"]) -> LinearSolution:
        solution = self._linear.solve(np.ascontiguousarray(r1.T), np.ascontiguousarray(r2.T), LINEAR_TOLERANCE)
        w = np.where(self._active[:, None], solution.w, 0.0)
        return LinearSolution(solution.x, w, solution.residual, solution.singular)

    def _report(self, solution: LinearSolution) -> DerivativeReport:
        return DerivativeReport(
            float(solution.residual.max(initial=0.0)), bool(solution.singular.any()), self._weakly_active
        )


def _sum_into(places: Indices, values: Float[np.ndarray, "k entries"], size: int) -> Float[np.ndarray, "k size"]:
    """For each row of `values`, the vector with the sum of the entries that fall on each place."""
    count = len(values)
    flat = (np.arange(count)[:, None] * size + places).ravel()
    sums = np.bincount(flat, weights=values.ravel(), minlength=count * size)
    return np.asarray(sums, dtype=np.float64).reshape(count, size)  # without entries bincount returns integers


@contextmanager
def differentiate(system: SymmetricSystem, program: ConeProgram, x: Vector, v: Vector) -> Iterator[Derivative]:
    """The derivative at the solution (x, v), for the time of the context.

    Raises `DerivativeError` if the system cannot be factored even with the largest regularization.
    """
    cones = program.structure.cones
    scaled = equilibrate(program)
    scaled_x, scaled_v = x / scaled.columns, scaled.scale_v(v)
    residual = evaluate(scaled.program, scaled_x, scaled_v)
    scale = np.where(scaled_v > 0, residual.dual_scale, residual.primal_scale)
    weak = np.abs(scaled_v) <= ACTIVITY_TOLERANCE * scale
    on_boundary = cones.derivative(np, np.zeros_like(scaled_v)).entries < 1
    D = cones.derivative(np, np.where(weak & on_boundary, 0.0, scaled_v)).entries
    y = cones.project_dual(np, v)
    with system.borrow() as ldl:
        try:
            linear = LinearSystem(system, ldl, scaled.program, D)
        except SingularMatrixError:
            raise DerivativeError(
                "the optimality conditions at the solution are too close to singular to be factored. "
                "Check the scales of the problem data, or add a small quadratic term to the objective."
            ) from None
        yield Derivative(program, x, y, scaled, linear, D > 0, int((weak & on_boundary).sum()))
