"""Small random cone programs built backwards from a solution, and the dense derivative at it as an oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optlayers.cones import Exponential, Nonnegative, Power, Product, SecondOrder, Semidefinite, Zero
from optlayers.program import ConeProgram, Pattern, Structure

CONES: dict[str, Product] = {
    "polyhedral": Product((Zero(2), Nonnegative(6))),
    "second-order": Product((Zero(1), Nonnegative(2), SecondOrder(3), SecondOrder(3), SecondOrder(6), SecondOrder(1))),
    "semidefinite": Product((Zero(1), Semidefinite(3), Semidefinite(3), Semidefinite(4), Semidefinite(1))),
    "exponential": Product((Zero(1), Nonnegative(2), Exponential(), Exponential(), Exponential())),
    "power": Product((Zero(1), Power((0.3, 0.7)), Power((0.3, 0.7)), Power((0.2, 0.3, 0.5)))),
    "all": Product(
        (
            Zero(2),
            Nonnegative(3),
            SecondOrder(4),
            Semidefinite(3),
            Exponential(),
            Exponential(),
            Power((0.6, 0.4)),
            Power((0.2, 0.3, 0.5)),
        )
    ),
}
"""Products of every kind of cone."""


@dataclass(frozen=True)
class Solved:
    """A program with its solution, strictly complementary."""

    program: ConeProgram
    x: np.ndarray
    v: np.ndarray

    @property
    def data(self) -> np.ndarray:
        """The data vector (P, q, A, b)."""
        program = self.program
        return np.concatenate([program.P_values, program.q, program.A_values, program.b])


def dense_program(P: np.ndarray, q: np.ndarray, A: np.ndarray, b: np.ndarray, cones: Product) -> ConeProgram:
    """The program of dense matrices, every entry of the upper triangle of P and of A stored."""
    n, m = len(q), len(b)
    P_rows, P_columns = np.triu_indices(n)
    A_rows, A_columns = np.indices((m, n)).reshape(2, -1)
    P_pattern, P_places = Pattern.from_positions((n, n), P_rows.astype(np.int32), P_columns.astype(np.int32))
    A_pattern, A_places = Pattern.from_positions((m, n), A_rows.astype(np.int32), A_columns.astype(np.int32))
    P_values, A_values = np.empty(P_pattern.size), np.empty(A_pattern.size)
    P_values[P_places], A_values[A_places] = P[P_rows, P_columns], A[A_rows, A_columns]
    return ConeProgram(Structure(P_pattern, A_pattern, cones), P_values, q, A_values, b)


def random_conic_program(cones: Product, seed: int = 0, *, quadratic: bool = True, n: int | None = None) -> Solved:
    """min 1/2 x'Px + q'x s.t. Ax + s = b built backwards from (x, v = y - s) with a random v, which is off every kink.

    `n` is by default the rank of D at v, which makes the multipliers unique, or one less.
    """
    rng = np.random.default_rng(seed)
    m = cones.size
    v = rng.standard_normal(m)
    y = cones.project_dual(np, v)
    D = dense_derivative(cones, v)
    rank = int((np.linalg.eigvalsh(D) > 1e-3).sum())
    n = rank if n is None else n
    root = rng.standard_normal((n, n)) / np.sqrt(n)
    P = root @ root.T + 0.1 * np.eye(n) if quadratic else np.zeros((n, n))
    A, x = rng.standard_normal((m, n)), rng.standard_normal(n)
    return Solved(dense_program(P, -(P @ x + A.T @ y), A, A @ x + y - v, cones), x, v)


def dense_derivative(cones: Product, v: np.ndarray) -> np.ndarray:
    """D Pi(v) as a dense matrix."""
    D = cones.derivative(np, v)
    return np.array([D.apply(np, unit) for unit in np.eye(len(v))]).reshape(len(v), len(v))


def dense_tangents(solved: Solved, directions: np.ndarray) -> np.ndarray:
    """(dx, dy) side by side for each direction of the data, from the dense derivative of the residual map."""
    program, x, v = solved.program, solved.x, solved.v
    structure = program.structure
    n, m = structure.n, structure.m
    P, A, D = program.P.toarray(), program.A.toarray(), dense_derivative(structure.cones, v)
    y = structure.cones.project_dual(np, v)
    dR = np.block([[P, A.T @ D], [A, D - np.eye(m)]])
    results = []
    for direction in directions:
        moved = ConeProgram.from_data(structure, direction)
        right = -np.concatenate([moved.P @ x + moved.A.T @ y + moved.q, moved.A @ x - moved.b])
        dz = np.linalg.solve(dR, right)
        results.append(np.concatenate([dz[:n], D @ dz[n:]]))
    return np.array(results)
