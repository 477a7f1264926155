"""Small random quadratic programs with a known solution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optlayers.cones import Nonnegative, Product, Zero
from optlayers.program import ConeProgram, Pattern, Structure


@dataclass(frozen=True)
class Solved:
    """A program with its solution, strictly complementary."""

    program: ConeProgram
    x: np.ndarray
    v: np.ndarray


def random_program(n: int, equalities: int, inequalities: int, seed: int = 0, scale: float = 1.0) -> Solved:
    """min 1/2 x'Px + q'x s.t. Ax + s = b built backwards from a solution, half of the inequalities active.

    At most n rows may be active, for the multipliers to be unique.

    `scale` spreads the rows and columns over that many orders of magnitude (as a factor 10^(+-scale/2)).
    """
    rng = np.random.default_rng(seed)
    m = equalities + inequalities
    root = rng.standard_normal((n, n))
    columns, rows = (10 ** rng.uniform(-scale / 2, scale / 2, size) for size in (n, m))
    P = (root @ root.T + np.eye(n)) * np.outer(columns, columns)
    A = rng.standard_normal((m, n)) * np.outer(rows, columns)
    x = rng.standard_normal(n) / columns
    active = np.concatenate([np.ones(equalities, bool), np.arange(inequalities) % 2 == 0])
    size = rng.uniform(0.5, 1.5, m)
    sign = np.where(np.arange(m) < equalities, rng.choice([-1.0, 1.0], m), 1.0)
    y, s = np.where(active, sign * size / rows, 0.0), np.where(active, 0.0, size * rows)
    return Solved(
        make_program(P, -(P @ x + A.T @ y), A, A @ x + s, equalities),
        x,
        y - s,
    )


def make_program(P: np.ndarray, q: np.ndarray, A: np.ndarray, b: np.ndarray, equalities: int) -> ConeProgram:
    """The program of dense matrices, every entry of the upper triangle of P and of A stored."""
    n, m = len(q), len(b)
    P_rows, P_columns = np.triu_indices(n)
    A_rows, A_columns = np.indices((m, n)).reshape(2, -1)
    P_pattern, P_places = Pattern.from_positions((n, n), P_rows.astype(np.int32), P_columns.astype(np.int32))
    A_pattern, A_places = Pattern.from_positions((m, n), A_rows.astype(np.int32), A_columns.astype(np.int32))
    P_values, A_values = np.empty(P_pattern.size), np.empty(A_pattern.size)
    P_values[P_places], A_values[A_places] = P[P_rows, P_columns], A[A_rows, A_columns]
    cones = Product(tuple(cone for cone in (Zero(equalities), Nonnegative(m - equalities)) if cone.size))
    return ConeProgram(Structure(P_pattern, A_pattern, cones), P_values, q, A_values, b)
