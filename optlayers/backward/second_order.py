"""The second derivative of the solution map (P, q, A, b) -> (x, y), by the implicit rule applied again.

Along a direction of the data, (dx, dy = D dv) solves the linearised optimality conditions; so do, in reverse mode, the
cotangents (u, t = D r) of their right-hand sides. Both are

    P u + A't = r1,   A u + t - r = r2,   t = D(v) r,

and their derivative along a second direction, which moves (x, y, v) by (dx, dy, dv) and the data by dP and dA, solves
the same equations:

    P u' + A't' = r1' - dP u - dA't,   A u' + t' - r' = r2' - dA u,   t' = D r' + c,   c = d/dv <r, D(v) dv>,

that is, for (u', t' - c), with A'c and c taken from the right-hand sides.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from optlayers.backward.abstract import AbstractBackward, Points
from optlayers.errors import DerivativeError
from optlayers.kkt import DerivativeReport, SymmetricSystem, data_jvp, data_vjp, matrix_cotangents, matrix_products

Rows = Float[np.ndarray, "B *#k m"]
Columns = Float[np.ndarray, "B *#k n"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class SecondProducts:
    """Products of the second derivative, for each element and its pairs of vectors; and a report for each element."""

    values: Float[np.ndarray, "B *k out"]
    reports: list[DerivativeReport]


def second_products(
    method: AbstractBackward,
    system: SymmetricSystem,
    points: Points,
    first: Float[np.ndarray, "B *#k in"],
    second: Float[np.ndarray, "B *#k data"],
    transpose: bool,
    threads: int,
) -> SecondProducts:
    """D2(x, y)[first, second] for two directions of the data; or, if `transpose`, the derivative of J'(first) along
    `second`, for a cotangent of (x, y) and a direction of the data.

    The axes k of the two broadcast: each distinct vector costs one solve, and each pair another one. Raises
    `DerivativeError` if the method has no second derivative.
    """
    if not method.twice_differentiable:
        raise DerivativeError(
            f"second derivatives are not available with backward='{method.name}': it differentiates at another point "
            "than the solution. Choose another backward method, or detach the first derivative."
        )
    equations = _Equations(method, system, points, threads)
    n = points.structure.n
    direction = equations.direction(first[..., :n], first[..., n:]) if transpose else first
    (u, t), (dx, dy), reports = equations.solve_two(direction, second)
    structure, x, v, data = points.structure, *equations.aligned(max(first.ndim, second.ndim))
    y = structure.cones.project_dual(np, v)

    def before_projection(r2: Rows, u: Columns, t: Rows) -> Rows:
        """r = A u + t - r2, of which t = D r."""
        r: Rows = matrix_products(structure, u, t, data)[1] + t - r2
        return r

    dv = before_projection(data_jvp(structure, x, y, second)[1], dx, dy)
    r = before_projection(first[..., n:] if transpose else data_jvp(structure, x, y, first)[1], u, t)
    c = structure.cones.second_derivative(np, *np.broadcast_arrays(v, r, dv))
    above, below = matrix_products(structure, u, t, second)
    if not transpose:
        of_first = matrix_products(structure, dx, dy, first)
        above, below = above + of_first[0], below + of_first[1]
    bent, _ = matrix_products(structure, np.zeros_like(x), c, data)
    (du, dt), more = equations.solve(equations.direction(-above - bent, -below - c))
    dt = dt + c
    reports = [_worst(*pair) for pair in zip(reports, more, strict=True)]
    if not transpose:
        return SecondProducts(np.concatenate([du, dt], axis=-1), reports)
    g_data = data_vjp(structure, x, y, du, dt)
    P_part, _, A_part = structure.data_slices
    g_P, g_A = matrix_cotangents(structure, dx, dy, u, t)
    g_data[..., P_part] += g_P
    g_data[..., A_part] += g_A
    return SecondProducts(g_data, reports)


@final
class _Equations:
    """The linearised optimality conditions of a batch, solved by a method through directions of the data."""

    def __init__(self, method: AbstractBackward, system: SymmetricSystem, points: Points, threads: int) -> None:
        self._method, self._system, self._points, self._threads = method, system, points, threads

    def aligned(self, ndim: int) -> tuple[Columns, Rows, Float[np.ndarray, "B *#k data"]]:
        """x, v and the data with axes of length one for the vectors that meet an element."""
        points = self._points
        x, v, data = (
            part.reshape(len(part), *(1,) * (ndim - 2), part.shape[-1]) for part in (points.x, points.v, points.data)
        )
        return x, v, data

    def direction(self, r1: Columns, r2: Rows) -> Float[np.ndarray, "B *#k data"]:
        """The direction of the data whose right-hand side is (r1, r2): dq = -r1, db = r2."""
        structure = self._points.structure
        _, q_part, A_part = structure.data_slices
        direction = np.zeros((*r1.shape[:-1], structure.data_size))
        direction[..., q_part], direction[..., A_part.stop :] = -r1, r2
        return direction

    def solve(self, directions: Float[np.ndarray, "B *#k data"]) -> tuple[tuple[Columns, Rows], list[DerivativeReport]]:
        """(dx, dy) for directions of the data."""
        points, lead = self._points, directions.shape[:-1]
        flat = directions.reshape(lead[0], int(np.prod(lead[1:])), directions.shape[-1])
        results = self._method.multiply(self._system, points, flat, False, self._threads)
        n, m = points.structure.n, points.structure.m
        values = np.array([result.values for result in results]).reshape(*lead, n + m)
        return (values[..., :n], values[..., n:]), [result.report for result in results]

    def solve_two(
        self, first: Float[np.ndarray, "B *#k data"], second: Float[np.ndarray, "B *#k data"]
    ) -> tuple[tuple[Columns, Rows], tuple[Columns, Rows], list[DerivativeReport]]:
        """`solve` for two sets of directions, in one factorization."""
        flat = [part.reshape(len(part), int(np.prod(part.shape[1:-1])), part.shape[-1]) for part in (first, second)]
        (dx, dy), reports = self.solve(np.concatenate(flat, axis=1))
        count = flat[0].shape[1]
        one = tuple(part[:, :count].reshape(*first.shape[:-1], part.shape[-1]) for part in (dx, dy))
        two = tuple(part[:, count:].reshape(*second.shape[:-1], part.shape[-1]) for part in (dx, dy))
        return (one[0], one[1]), (two[0], two[1]), reports


def _worst(one: DerivativeReport, other: DerivativeReport) -> DerivativeReport:
    """Of two reports of one method at one point."""
    return dataclasses.replace(
        one,
        residual=max(one.residual, other.residual),
        singular=one.singular or other.singular,
        iterations=max(one.iterations, other.iterations),
        error=max(one.error, other.error),
    )
