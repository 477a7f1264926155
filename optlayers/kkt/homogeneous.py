"""The derivative of the solution map by the homogeneous self-dual residual map.

For z = (x, v, w) in R^(n + m + 1), y = Pi(v), tau = max(w, 0), kappa = tau - w,

    H(z) = [ Px + A'y + tau q ;  Ax + y - v - tau b ;  -x'Px / tau - q'x - b'y - kappa ]

vanishes at w = 1 if (x, v) is a solution, and is homogeneous of degree one (Busseti, Moursi and Boyd, 2019; with P,
Healey, Nobel and Boyd, 2025). At w = 1, where kappa = 0,

    M = DH = [  P             A'D   q    ]
             [  A             D - I -b   ]
             [ -(2 Px + q)'  -b'D   x'Px ],

and M z = 0. The solution is (x, y) / tau, so that by dM z = -dH/d(data) =: r

    dx = dz_x - x dw,   dy = D dz_v - y dw,

which does not feel the null direction z. In reverse mode M'p = (g_x, D g_y, -g_x'x - g_y'y), and the cotangents of the
data are those of p'r.

LSMR is given this scaled. In equilibrated variables, x and s are divided by alpha, the size of the primal terms in the
active rows, y by beta, the size of the dual terms, and the objective by alpha beta. D is that at y / beta - s / alpha,
whose eigenvalues are far from 0 and 1 where y and s have their usual sizes. Then the last column and the last row of M
are divided by their norms. Let sigma be that of the column c = -dR (x, v). If (dz, dw) is orthogonal to the null
direction (x, v, sigma), then

    |dR dz + c dw / sigma| >= s |(dz, dw)|,   s the smallest singular value of dR,

so that the system is as well conditioned as the optimality conditions. Unscaled, q, b and x'Px may exceed all else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import scipy.sparse.linalg as spla
from jaxtyping import Float

from optlayers.arrays import Vector
from optlayers.cones import BlockDerivative, Resolution
from optlayers.kkt.data_derivative import data_jvp, data_vjp
from optlayers.kkt.derivative import DerivativeReport
from optlayers.kkt.least_squares import LeastSquares, least_squares
from optlayers.kkt.linearization import ACTIVITY_TOLERANCE, Linearization
from optlayers.kkt.residual_map import evaluate
from optlayers.program import ConeProgram, Structure


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """The program, its solution and D in the variables x / columns, y / rows, s / slacks, and its objective divided by
    `objective`.

    weakly_active: the number of kinks that y - s is on.
    """

    program: ConeProgram
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " m"]
    v: Float[np.ndarray, " m"]
    D: BlockDerivative
    weakly_active: int
    columns: Float[np.ndarray, " n"]
    rows: Float[np.ndarray, " m"]
    slacks: Float[np.ndarray, " m"]
    objective: float


@final
class HomogeneousDerivative:
    """The derivative of (x, y) by the data at one solution, matrix-free: made by `differentiate_homogeneous`."""

    def __init__(self, linearization: Linearization, tolerance: float, max_iterations: int) -> None:
        self._at, self._scaled = linearization, _scale(linearization)
        self._tolerance, self._max_iterations = tolerance, max_iterations
        self._map = _HomogeneousMap(self._scaled)

    def jvp(
        self, d_data: Float[np.ndarray, "k data"]
    ) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k m"], DerivativeReport]:
        """(dx, dy) for each direction of the data."""
        at, scaled = self._at, self._scaled
        r1, r2 = data_jvp(at.program.structure, at.x, at.y, d_data)
        gap = _gap_jvp(at.program.structure, at.x, at.y, d_data) / scaled.objective / self._map.row
        r1, r2 = r1 * scaled.columns / scaled.objective, r2 / scaled.slacks
        right = np.concatenate([r1, r2, gap[:, None]], axis=1).T
        found = least_squares(
            self._map.operator(), right, self._tolerance, self._max_iterations, self._map.null_vector()
        )
        dx, dy = self._tangents(found.solution)
        idle = None if found.idle is None else np.concatenate(self._tangents(found.idle[:, None]), axis=1)
        return dx, dy, self._report(found, idle)

    def vjp(
        self, g_x: Float[np.ndarray, "k n"], g_y: Float[np.ndarray, "k m"]
    ) -> tuple[Float[np.ndarray, "k data"], DerivativeReport]:
        """The cotangents of the data for each pair of cotangents of x and y."""
        scaled = self._scaled
        g_x, g_y = g_x * scaled.columns, g_y * scaled.rows
        g_w = -(g_x @ scaled.x + g_y @ scaled.y) / self._map.column
        right = np.concatenate([g_x, scaled.D.apply_each(np, g_y), g_w[:, None]], axis=1).T
        found = least_squares(
            self._map.operator().adjoint(),
            right,
            self._tolerance,
            self._max_iterations,
            self._map.left_null_vector(),
        )
        idle = None if found.idle is None else self._cotangents(found.idle[:, None])
        return self._cotangents(found.solution), self._report(found, idle)

    def _tangents(self, z: Float[np.ndarray, "size k"]) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k m"]]:
        """(dx, dy) of solutions of M z = r."""
        scaled, n = self._scaled, len(self._scaled.x)
        dz_x, dz_v, dw = z[:n].T, z[n:-1].T, z[-1][:, None] / self._map.column
        dx, dy = dz_x - scaled.x * dw, scaled.D.apply_each(np, dz_v) - scaled.y * dw
        return dx * scaled.columns, dy * scaled.rows

    def _cotangents(self, p: Float[np.ndarray, "size k"]) -> Float[np.ndarray, "k data"]:
        """The cotangents of the data of solutions of M'p = g."""
        at, scaled, n = self._at, self._scaled, len(self._scaled.x)
        u, t = p[:n].T * scaled.columns / scaled.objective, p[n:-1].T / scaled.slacks
        gap = p[-1] / self._map.row / scaled.objective
        structure = at.program.structure
        g_data: Float[np.ndarray, "k data"] = data_vjp(structure, at.x, at.y, u, t) + _gap_vjp(
            structure, at.x, at.y, gap
        )
        return g_data

    def _report(self, found: LeastSquares, ambiguity: Float[np.ndarray, "1 out"] | None) -> DerivativeReport:
        return DerivativeReport(
            float(found.relative_residual.max(initial=0.0)),
            bool(found.singular.any()),
            self._scaled.weakly_active,
            found.iterations,
            "homogeneous",
            float(found.error.max(initial=0.0)),
            ambiguity,
        )


def differentiate_homogeneous(
    linearization: Linearization, tolerance: float, max_iterations: int
) -> HomogeneousDerivative:
    """The derivative at a solution, by LSMR to the relative residual `tolerance`."""
    return HomogeneousDerivative(linearization, tolerance, max_iterations)


def _scale(at: Linearization) -> _Scaled:
    """The equilibrated program in units of alpha for x and s, and of beta for y."""
    program, cones = at.scaled.program, at.program.structure.cones
    x, y = at.x / at.scaled.columns, at.y / at.scaled.rows
    s = program.b - program.A @ x
    residual = evaluate(program, x, y - s)
    alpha = float(residual.primal_scale.min(initial=np.inf))
    alpha = alpha if np.isfinite(alpha) else 1.0
    # The entries of P stay below one as well: where x is far smaller than b, the dual terms do not show P's size.
    beta = max(residual.dual_scale, alpha * float(np.abs(program.P_values).max(initial=0.0)))
    v = y / beta - s / alpha
    zero = Resolution(
        np.full_like(v, ACTIVITY_TOLERANCE * residual.dual_scale / beta),
        ACTIVITY_TOLERANCE * residual.primal_scale / alpha,
    )
    return _Scaled(
        ConeProgram(
            program.structure,
            program.P_values * (alpha / beta),
            program.q / beta,
            program.A_values,
            program.b / alpha,
        ),
        x / alpha,
        y / beta,
        v,
        cones.derivative(np, v, zero),
        int(cones.kinks(np, v, zero).sum()),
        at.scaled.columns * alpha,
        at.scaled.rows * beta,
        alpha / at.scaled.rows,
        alpha * beta,
    )


@final
class _HomogeneousMap:
    """M by its products, its last column and row divided by `column` and `row`, their norms."""

    def __init__(self, scaled: _Scaled) -> None:
        program, x, D = scaled.program, scaled.x, scaled.D
        Px = program.P @ x
        curvature = float(x @ Px)
        self._program, self._D, self._x, self._y, self._v = program, D, x, scaled.y, scaled.v
        self._gradient = 2 * Px + program.q
        self.column = _norm(program.q, program.b, curvature)
        self.row = _norm(self._gradient, D.apply(np, program.b), curvature)
        self._corner = curvature / self.column / self.row

    def null_vector(self) -> Vector:
        """(x, v, 1): M z = 0, since H is homogeneous."""
        return np.concatenate([self._x, self._v, [self.column]])

    def left_null_vector(self) -> Vector:
        """(x, -y, 1): M'p = 0, since Px + A'y + q = 0, Ax - b = -s, D y = y and D s = 0."""
        return np.concatenate([self._x, -self._y, [self.row]])

    def operator(self) -> spla.LinearOperator:
        """M."""
        size = len(self._program.q) + len(self._program.b) + 1
        return spla.LinearOperator((size, size), self._multiply, self._multiply_transposed, dtype=np.float64)

    def _multiply(self, z: Vector) -> Vector:
        program, n = self._program, len(self._program.q)
        dx, w, tau = z[:n], self._D.apply(np, z[n:-1]), z[-1] / self.column
        return np.concatenate(
            [
                program.P @ dx + program.A_transposed @ w + tau * program.q,
                program.A @ dx + w - z[n:-1] - tau * program.b,
                [-(self._gradient @ dx + program.b @ w) / self.row + self._corner * z[-1]],
            ]
        )

    def _multiply_transposed(self, r: Vector) -> Vector:
        program, n = self._program, len(self._program.q)
        u, t, gap = r[:n], r[n:-1], r[-1] / self.row
        return np.concatenate(
            [
                program.P @ u + program.A_transposed @ t - gap * self._gradient,
                self._D.apply(np, program.A @ u + t - gap * program.b) - t,
                [(program.q @ u - program.b @ t) / self.column + self._corner * r[-1]],
            ]
        )


def _norm(first: Vector, second: Vector, third: float) -> float:
    """The norm of a column or row, or one if it is zero."""
    return float(np.linalg.norm(np.concatenate([first, second, [third]]))) or 1.0


def _gap_jvp(
    structure: Structure, x: Vector, y: Vector, d_data: Float[np.ndarray, "k data"]
) -> Float[np.ndarray, " k"]:
    """x'dP x + dq'x + db'y: minus the derivative of H's last entry."""
    P_part, q_part, A_part = structure.data_slices
    gap: Vector = d_data[:, P_part] @ _quadratic(structure, x) + d_data[:, q_part] @ x + d_data[:, A_part.stop :] @ y
    return gap


def _gap_vjp(structure: Structure, x: Vector, y: Vector, gap: Float[np.ndarray, " k"]) -> Float[np.ndarray, "k data"]:
    """The transpose of `_gap_jvp`."""
    nothing = np.zeros(structure.A.size)
    return np.outer(gap, np.concatenate([_quadratic(structure, x), x, nothing, y]))


def _quadratic(structure: Structure, x: Vector) -> Float[np.ndarray, " nnz_P"]:
    """The derivative of x'Px by the stored entries of the upper triangle."""
    P = structure.P
    twice: Vector = np.where(P.rows == P.columns, 1.0, 2.0) * x[P.rows] * x[P.columns]
    return twice
