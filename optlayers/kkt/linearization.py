"""The optimality conditions linearised at a solution, in equilibrated variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from optlayers.arrays import Vector
from optlayers.cones import BlockDerivative, Resolution
from optlayers.kkt.data_derivative import data_jvp, data_vjp
from optlayers.kkt.equilibration import Equilibrated, equilibrate
from optlayers.kkt.residual_map import evaluate
from optlayers.program import ConeProgram

ACTIVITY_TOLERANCE = 1e-10
"""A multiplier or slack (in a curved cone, a spectral value of it) below this, relative to the scales of the dual and
primal residuals in equilibrated variables, counts as zero: the cone's documented choice of derivative applies."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Linearization:
    """A program at (x, y), its equilibrated form, and D there.

    The derivative of (x, y) by the data is the solution of the symmetric system of `scaled.program` at D:

        forward:  right-hand side [ -(dP x + dA'y + dq) ; db - dA x ], solution (dx, dy);
        reverse:  right-hand side [ g_x ; g_y ], solution (u, t),
                  g_P = -1/2 (u x' + x u'),  g_q = -u,  g_A = -(y u' + t x'),  g_b = t

    (Amos and Kolter, 2017, for quadratic programs; Agrawal et al., 2019, for cone programs), all of them scaled.

    weakly_active: the number of kinks that the point is on, where D is the cones' documented choice.
    """

    program: ConeProgram
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " m"]
    scaled: Equilibrated
    D: BlockDerivative
    weakly_active: int

    @property
    def bytes(self) -> int:
        """The memory, roughly: of the data in both units, the matrices made of them, and D."""
        program = self.program
        return 4 * (program.P_values.nbytes + program.A_values.nbytes + 2 * self.x.nbytes + 2 * self.y.nbytes)

    def forward(self, d_data: Float[np.ndarray, "k data"]) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "m k"]]:
        """The right-hand sides for directions of the data."""
        r1, r2 = data_jvp(self.program.structure, self.x, self.y, d_data)
        return self.reverse(r1, r2)

    def reverse(
        self, g_x: Float[np.ndarray, "k n"], g_y: Float[np.ndarray, "k m"]
    ) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "m k"]]:
        """The right-hand sides for cotangents of x and y."""
        scaled_x, scaled_y = g_x * self.scaled.columns, g_y * self.scaled.rows
        return np.ascontiguousarray(scaled_x.T), np.ascontiguousarray(scaled_y.T)

    def tangents(
        self, x: Float[np.ndarray, "n k"], w: Float[np.ndarray, "m k"]
    ) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k m"]]:
        """(dx, dy) of the solutions."""
        return x.T * self.scaled.columns, w.T * self.scaled.rows

    def cotangents(self, x: Float[np.ndarray, "n k"], w: Float[np.ndarray, "m k"]) -> Float[np.ndarray, "k data"]:
        """The cotangents of the data of the solutions (u, t)."""
        return data_vjp(self.program.structure, self.x, self.y, *self.tangents(x, w))

    def products(
        self, x: Float[np.ndarray, "n k"], w: Float[np.ndarray, "m k"], transpose: bool
    ) -> Float[np.ndarray, "k out"]:
        """The cotangents of the data if `transpose`, else (dx, dy) side by side."""
        return self.cotangents(x, w) if transpose else np.concatenate(self.tangents(x, w), axis=1)


def linearize(program: ConeProgram, x: Vector, v: Vector) -> Linearization:
    """The linearization at the solution (x, v = y - s)."""
    cones = program.structure.cones
    scaled = equilibrate(program)
    scaled_v = scaled.scale_v(v)
    residual = evaluate(scaled.program, x / scaled.columns, scaled_v)
    zero = Resolution(
        np.full_like(v, ACTIVITY_TOLERANCE * residual.dual_scale), ACTIVITY_TOLERANCE * residual.primal_scale
    )
    D = cones.derivative(np, scaled_v, zero)
    weakly_active = int(cones.kinks(np, scaled_v, zero).sum())
    return Linearization(program, x, cones.project_dual(np, v), scaled, D, weakly_active)
