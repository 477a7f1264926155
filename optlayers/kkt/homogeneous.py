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
"""

from __future__ import annotations

from typing import final

import numpy as np
import scipy.sparse.linalg as spla
from jaxtyping import Float

from optlayers.arrays import Vector
from optlayers.kkt.data_derivative import data_jvp, data_vjp
from optlayers.kkt.derivative import DerivativeReport
from optlayers.kkt.least_squares import LeastSquares, least_squares
from optlayers.kkt.linearization import Linearization
from optlayers.program import Structure


@final
class HomogeneousDerivative:
    """The derivative of (x, y) by the data at one solution, matrix-free: made by `differentiate_homogeneous`."""

    def __init__(self, linearization: Linearization, tolerance: float, max_iterations: int) -> None:
        self._at = linearization
        self._tolerance, self._max_iterations = tolerance, max_iterations
        scaled = linearization.scaled
        self._x, self._y = linearization.x / scaled.columns, linearization.y / scaled.rows
        self._M = _operator(linearization, self._x)

    def jvp(
        self, d_data: Float[np.ndarray, "k data"]
    ) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k m"], DerivativeReport]:
        """(dx, dy) for each direction of the data."""
        at, n = self._at, len(self._x)
        r1, r2 = data_jvp(at.program.structure, at.x, at.y, d_data)
        gap = _gap_jvp(at.program.structure, at.x, at.y, d_data)
        right = np.concatenate([r1 * at.scaled.columns, r2 * at.scaled.rows, gap[:, None]], axis=1).T
        found = least_squares(self._M, right, self._tolerance, self._max_iterations)
        dz_x, dz_v, dw = found.solution[:n].T, found.solution[n:-1].T, found.solution[-1][:, None]
        dx, dy = dz_x - self._x * dw, at.D.apply_each(np, dz_v) - self._y * dw
        return dx * at.scaled.columns, dy * at.scaled.rows, self._report(found)

    def vjp(
        self, g_x: Float[np.ndarray, "k n"], g_y: Float[np.ndarray, "k m"]
    ) -> tuple[Float[np.ndarray, "k data"], DerivativeReport]:
        """The cotangents of the data for each pair of cotangents of x and y."""
        at, n = self._at, len(self._x)
        g_x, g_y = g_x * at.scaled.columns, g_y * at.scaled.rows
        g_w = -(g_x @ self._x) - g_y @ self._y
        right = np.concatenate([g_x, at.D.apply_each(np, g_y), g_w[:, None]], axis=1).T
        found = least_squares(self._M.adjoint(), right, self._tolerance, self._max_iterations)
        u, t, gap = found.solution[:n].T, found.solution[n:-1].T, found.solution[-1]
        structure = at.program.structure
        g_data = data_vjp(structure, at.x, at.y, u * at.scaled.columns, t * at.scaled.rows)
        return g_data + _gap_vjp(structure, at.x, at.y, gap), self._report(found)

    def _report(self, found: LeastSquares) -> DerivativeReport:
        return DerivativeReport(
            float(found.relative_residual.max(initial=0.0)),
            bool(found.singular.any()),
            self._at.weakly_active,
            found.iterations,
            "homogeneous",
        )


def differentiate_homogeneous(
    linearization: Linearization, tolerance: float, max_iterations: int
) -> HomogeneousDerivative:
    """The derivative at a solution, by LSMR to the relative residual `tolerance`."""
    return HomogeneousDerivative(linearization, tolerance, max_iterations)


def _operator(at: Linearization, x: Vector) -> spla.LinearOperator:
    """M in equilibrated variables."""
    program, D = at.scaled.program, at.D
    n, m = program.structure.n, program.structure.m
    Px = program.P @ x
    curvature = float(x @ Px)

    def multiply(z: Vector) -> Vector:
        dx, w, tau = z[:n], D.apply(np, z[n:-1]), z[-1]
        return np.concatenate(
            [
                program.P @ dx + program.A_transposed @ w + tau * program.q,
                program.A @ dx + w - z[n:-1] - tau * program.b,
                [-(2 * Px + program.q) @ dx - program.b @ w + tau * curvature],
            ]
        )

    def multiply_transposed(r: Vector) -> Vector:
        u, t, gap = r[:n], r[n:-1], r[-1]
        return np.concatenate(
            [
                program.P @ u + program.A_transposed @ t - gap * (2 * Px + program.q),
                D.apply(np, program.A @ u + t - gap * program.b) - t,
                [program.q @ u - program.b @ t + gap * curvature],
            ]
        )

    return spla.LinearOperator((n + m + 1, n + m + 1), multiply, multiply_transposed, dtype=np.float64)


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
