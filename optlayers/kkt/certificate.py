"""Checking a solver's claim that a program has no solution."""

from __future__ import annotations

import numpy as np

from optlayers.arrays import Vector
from optlayers.kkt.equilibration import equilibrate
from optlayers.program import ConeProgram

CERTIFICATE_TOLERANCE = 1e-6
"""Largest violation accepted of a certificate, relative to what it gains: -b'y / |b| or -q'x / |q|.

A y that passes excludes every feasible point smaller than |b| / CERTIFICATE_TOLERANCE, since b'y = (Ax + s)'y."""


def proves_infeasible(program: ConeProgram, y: Vector) -> bool:
    """Whether y in K*, A'y = 0, b'y < 0: no point satisfies the constraints (Farkas)."""
    scaled = equilibrate(program)
    y = y / scaled.rows
    size = np.abs(y).max(initial=0.0)
    if not (np.isfinite(size) and size > 0):
        return False
    y = y / size
    gain = -float(scaled.program.b @ y) / max(float(np.abs(scaled.program.b).max(initial=0.0)), np.finfo(float).tiny)
    distance = np.abs(y - program.structure.cones.project_dual(np, y)).max(initial=0.0)
    violation = max(float(distance), float(np.abs(scaled.program.A_transposed @ y).max(initial=0.0)))
    return bool(gain > 0 and violation <= CERTIFICATE_TOLERANCE * gain)


def proves_unbounded(program: ConeProgram, x: Vector) -> bool:
    """Whether Px = 0, -Ax in K, q'x < 0: along x the objective decreases without end."""
    scaled = equilibrate(program)
    x = x / scaled.columns
    size = np.abs(x).max(initial=0.0)
    if not (np.isfinite(size) and size > 0):
        return False
    x = x / size
    gain = -float(scaled.program.q @ x) / max(float(np.abs(scaled.program.q).max(initial=0.0)), np.finfo(float).tiny)
    slack = -(scaled.program.A @ x)
    # Moreau: slack = Pi_K(slack) - Pi_{K*}(-slack), so the second term is the distance from K.
    distance = np.abs(program.structure.cones.project_dual(np, -slack)).max(initial=0.0)
    violation = max(float(distance), float(np.abs(scaled.program.P @ x).max(initial=0.0)))
    return bool(gain > 0 and violation <= CERTIFICATE_TOLERANCE * gain)
