"""Scaling a cone program so that the entries of its symmetric system are near one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from optlayers.arrays import Vector
from optlayers.program import ConeProgram

PASSES = 5
"""Passes of the scaling; each takes the square root of the distance of the largest entries from one."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Equilibrated:
    """The program in the variables x/columns, y/rows, s*rows, in which every row and column has largest entry near 1.

    P' = diag(columns) P diag(columns), A' = diag(rows) A diag(columns), q' = columns q, b' = rows b.
    The cones stay what they are: the scaling is positive, and one for all rows of a cone that is not separable.
    """

    program: ConeProgram
    columns: Float[np.ndarray, " n"]
    rows: Float[np.ndarray, " m"]

    def scale_v(self, v: Vector) -> Vector:
        """v = y - s in the scaled variables."""
        y = self.program.structure.cones.project_dual(np, v)
        scaled: Vector = y / self.rows - (y - v) * self.rows
        return scaled

    def unscale_v(self, v: Vector) -> Vector:
        """v = y - s in the original variables."""
        y = self.program.structure.cones.project_dual(np, v)
        original: Vector = y * self.rows - (y - v) / self.rows
        return original


def equilibrate(program: ConeProgram) -> Equilibrated:
    """The program scaled by alternating square roots of the largest entries (Ruiz, 2001)."""
    structure = program.structure
    P, A = structure.P, structure.A
    P_size, A_size = np.abs(program.P_values), np.abs(program.A_values)
    columns, rows = np.ones(structure.n), np.ones(structure.m)
    for _ in range(PASSES):
        P_scaled = P_size * columns[P.rows] * columns[P.columns]
        A_scaled = A_size * rows[A.rows] * columns[A.columns]
        largest_column, largest_row = np.zeros(structure.n), np.zeros(structure.m)
        np.maximum.at(largest_column, P.rows, P_scaled)
        np.maximum.at(largest_column, P.columns, P_scaled)
        np.maximum.at(largest_column, A.columns, A_scaled)
        np.maximum.at(largest_row, A.rows, A_scaled)
        largest_row = structure.cones.share_largest(largest_row)
        columns /= np.sqrt(np.where(largest_column > 0, largest_column, 1.0))
        rows /= np.sqrt(np.where(largest_row > 0, largest_row, 1.0))
    scaled = ConeProgram(
        structure,
        program.P_values * columns[P.rows] * columns[P.columns],
        program.q * columns,
        program.A_values * rows[A.rows] * columns[A.columns],
        program.b * rows,
    )
    return Equilibrated(scaled, columns, rows)
