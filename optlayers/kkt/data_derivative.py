"""How the residual map depends on the data (P, q, A, b), at a point (x, y): in both modes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from optlayers.arrays import Indices, Vector
from optlayers.program import Structure


def data_jvp(
    structure: Structure, x: Vector, y: Vector, d_data: Float[np.ndarray, "k data"]
) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k m"]]:
    """-(dP x + dA'y + dq) and db - dA x for each direction of the data: minus the derivative of the residual map."""
    P_part, q_part, A_part = structure.data_slices
    dP, dq, dA, db = d_data[:, P_part], d_data[:, q_part], d_data[:, A_part], d_data[:, A_part.stop :]
    P, A = structure.P, structure.A
    above = np.where(P.rows == P.columns, 0.0, 1.0)
    r1 = -dq - _sum_into(P.rows, dP * x[P.columns], structure.n)
    r1 -= _sum_into(P.columns, dP * above * x[P.rows], structure.n)
    r1 -= _sum_into(A.columns, dA * y[A.rows], structure.n)
    return r1, db - _sum_into(A.rows, dA * x[A.columns], structure.m)


def data_vjp(
    structure: Structure, x: Vector, y: Vector, u: Float[np.ndarray, "k n"], t: Float[np.ndarray, "k m"]
) -> Float[np.ndarray, "k data"]:
    """The transpose of `data_jvp`: g_P = -1/2 (u x' + x u'), g_q = -u, g_A = -(y u' + t x'), g_b = t, side by side."""
    P, A = structure.P, structure.A
    once = np.where(P.rows == P.columns, 0.5, 1.0)  # an entry above the diagonal stands for two entries of P
    g_P = -once * (u[:, P.rows] * x[P.columns] + u[:, P.columns] * x[P.rows])
    g_A = -(y[A.rows] * u[:, A.columns] + t[:, A.rows] * x[A.columns])
    return np.concatenate([g_P, -u, g_A, t], axis=1)


def _sum_into(places: Indices, values: Float[np.ndarray, "k entries"], size: int) -> Float[np.ndarray, "k size"]:
    """For each row of `values`, the vector with the sum of the entries that fall on each place."""
    count = len(values)
    flat = (np.arange(count)[:, None] * size + places).ravel()
    sums = np.bincount(flat, weights=values.ravel(), minlength=count * size)
    return np.asarray(sums, dtype=np.float64).reshape(count, size)  # without entries bincount returns integers
