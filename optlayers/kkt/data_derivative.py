"""How the residual map depends on the data (P, q, A, b), at a point (x, y): in both modes.

Everything acts on the last axis; leading axes are free, and those of the arguments broadcast.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from optlayers.arrays import Indices
from optlayers.program import Structure


def data_jvp(
    structure: Structure,
    x: Float[np.ndarray, "*#k n"],
    y: Float[np.ndarray, "*#k m"],
    d_data: Float[np.ndarray, "*#k d"],
) -> tuple[Float[np.ndarray, "*#k n"], Float[np.ndarray, "*#k m"]]:
    """-(dP x + dA'y + dq) and db - dA x for each direction of the data: minus the derivative of the residual map."""
    _, q_part, A_part = structure.data_slices
    above, below = matrix_products(structure, x, y, d_data)
    return -d_data[..., q_part] - above, d_data[..., A_part.stop :] - below


def data_vjp(
    structure: Structure,
    x: Float[np.ndarray, "*#k n"],
    y: Float[np.ndarray, "*#k m"],
    u: Float[np.ndarray, "*#k n"],
    t: Float[np.ndarray, "*#k m"],
) -> Float[np.ndarray, "*#k d"]:
    """The transpose of `data_jvp`: g_P = -1/2 (u x' + x u'), g_q = -u, g_A = -(y u' + t x'), g_b = t, side by side."""
    g_P, g_A = matrix_cotangents(structure, x, y, u, t)
    return np.concatenate([g_P, -u, g_A, t], axis=-1)


def matrix_products(
    structure: Structure, x: Float[np.ndarray, "*#k n"], y: Float[np.ndarray, "*#k m"], data: Float[np.ndarray, "*#k d"]
) -> tuple[Float[np.ndarray, "*#k n"], Float[np.ndarray, "*#k m"]]:
    """P x + A'y and A x, for the matrices of each data vector."""
    P, A = structure.P, structure.A
    P_part, _, A_part = structure.data_slices
    P_values, A_values = data[..., P_part], data[..., A_part]
    above = np.where(P.rows == P.columns, 0.0, 1.0)
    Px = _sum_into(P.rows, P_values * x[..., P.columns], structure.n)
    Px += _sum_into(P.columns, P_values * above * x[..., P.rows], structure.n)
    Ay = _sum_into(A.columns, A_values * y[..., A.rows], structure.n)
    return Px + Ay, _sum_into(A.rows, A_values * x[..., A.columns], structure.m)


def matrix_cotangents(
    structure: Structure,
    x: Float[np.ndarray, "*#k n"],
    y: Float[np.ndarray, "*#k m"],
    u: Float[np.ndarray, "*#k n"],
    t: Float[np.ndarray, "*#k m"],
) -> tuple[Float[np.ndarray, "*#k nnz_P"], Float[np.ndarray, "*#k nnz_A"]]:
    """g_P and g_A of `data_vjp`: bilinear in (x, y) and (u, t)."""
    P, A = structure.P, structure.A
    once = np.where(P.rows == P.columns, 0.5, 1.0)  # an entry above the diagonal stands for two entries of P
    g_P = -once * (u[..., P.rows] * x[..., P.columns] + u[..., P.columns] * x[..., P.rows])
    return g_P, -(y[..., A.rows] * u[..., A.columns] + t[..., A.rows] * x[..., A.columns])


def _sum_into(places: Indices, values: Float[np.ndarray, "*k entries"], size: int) -> Float[np.ndarray, "*k size"]:
    """For each row of `values`, the vector with the sum of the entries that fall on each place."""
    lead = values.shape[:-1]
    count = int(np.prod(lead))
    flat = (np.arange(count)[:, None] * size + places).ravel()
    sums = np.bincount(flat, weights=values.ravel(), minlength=count * size)
    return np.asarray(sums, dtype=np.float64).reshape(*lead, size)  # without entries bincount returns integers
