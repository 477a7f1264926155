"""A cone program in units of its own, and of its solution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from optlayers.arrays import Vector
from optlayers.cones import Nonnegative, SecondOrder, Semidefinite, Zero
from optlayers.program import ConeProgram, Point

UNBALANCED = 5
"""Powers of two by which a unit must differ from the present one to be worth a change."""

NEGLIGIBLE = 1e-6
"""A multiplier or slack that is smaller than this part of the largest may be the solver's inaccuracy."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Normalized:
    """The program in the variables x' = x / primal, s' = s / primal, y' = dual y, whose data are near 1.

    P' = primal dual P, q' = dual q, A' = A, b' = b / primal: cones do not change under positive factors. Both factors
    are powers of two, so that nothing is rounded, and programs that differ by powers of two in the units of x or of
    the objective have the same normalized program.
    """

    program: ConeProgram
    primal: float
    dual: float

    @property
    def unchanged(self) -> bool:
        """Whether the units are the program's own."""
        return self.primal == self.dual == 1

    def point(self, point: Point) -> Point:
        """A point of the program as one of the normalized program."""
        return Point(point.x / self.primal, point.y * self.dual, point.s / self.primal)

    def original(self, x: Vector, y: Vector, v: Vector) -> tuple[Vector, Vector, Vector]:
        """(x, y, v = y - s) of the program from those of the normalized one."""
        if self.unchanged:
            return x, y, v
        return x * self.primal, y / self.dual, y / self.dual - (y - v) * self.primal


def normalize(program: ConeProgram) -> Normalized:
    """The program in units of its own.

    The unit of x is the distance of x = 0 from the constraints, |Pi(-b)|, or, if that is larger, the smaller of |b| and
    |q| / |P|: what the constraints leave to x, and where the quadratic objective would end. So a loose bound, however
    large, sets no unit. The unit of y is that of the gradient of the objective, max(|q|, |P| |x|). Norms are maximum
    norms; 1 stands for what is zero.
    """
    P, q, b = _largest(program.P_values), _largest(program.q), _largest(program.b)
    reach = min(b, q / P) if b and P else (q / P if P else b)
    primal = _power_of_two(max(_distance_of_zero(program), reach))
    dual = 1 / _power_of_two(max(q, P * primal))
    return _in_units(program, primal, dual)


def balance(program: ConeProgram, point: Point) -> Normalized:
    """A normalized program in units in which y and s of a point are of equal size in the curved cones: `v = y - s`
    holds the smaller of them to the rounding of the larger.

    Cones that are not active, or have no slack, set no unit: what is below `NEGLIGIBLE` of the largest, or of 1, the
    usual size in a normalized program.
    """
    curved = np.zeros(program.structure.m, dtype=np.bool_)
    for run in program.structure.cones.runs:
        curved[run.start : run.stop] = not run.cone.separable
    y, s = _largest(point.y[curved]), _largest(point.s[curved])
    if y <= NEGLIGIBLE * max(_largest(point.y), 1.0) or s <= NEGLIGIBLE * max(_largest(point.s), 1.0):
        return Normalized(program, 1.0, 1.0)
    unit = _power_of_two(np.sqrt(s / y))
    return _in_units(program, unit, unit) if abs(np.log2(unit)) >= UNBALANCED else Normalized(program, 1.0, 1.0)


def _distance_of_zero(program: ConeProgram) -> float:
    """|Pi(-b)|, the distance of b from K; |b| where the projection takes iterations."""
    distance = 0.0
    for run in program.structure.cones.runs:
        b = run.take(np, program.b)
        if isinstance(run.cone, Zero | Nonnegative | SecondOrder | Semidefinite):
            b = run.cone.project_dual(np, -b)
        distance = max(distance, _largest(b))
    return distance


def _in_units(program: ConeProgram, primal: float, dual: float) -> Normalized:
    if primal == dual == 1:
        return Normalized(program, primal, dual)
    normalized = ConeProgram(
        program.structure, program.P_values * (primal * dual), program.q * dual, program.A_values, program.b / primal
    )
    return Normalized(normalized, primal, dual)


def _power_of_two(size: float) -> float:
    """The power of two nearest to a size in its logarithm; 1 for zero and what is out of range."""
    if not (np.finfo(np.float64).tiny < size < np.finfo(np.float64).max):
        return 1.0
    return float(2.0 ** np.round(np.log2(size)))


def _largest(vector: Vector) -> float:
    return float(np.abs(vector).max(initial=0.0))
