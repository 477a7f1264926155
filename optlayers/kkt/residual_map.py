"""The residual map of the optimality conditions.

With v = y - s, y = Pi(v), s = Pi(v) - v (Pi the projection on K*), a point is optimal if and only if

    R(x, v) = [ P x + A' Pi(v) + q ;  A x + Pi(v) - v - b ] = 0

(Busseti, Moursi and Boyd, 2019, write the homogeneous form). s in K, y in K* and y's = 0 hold at every v, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import scipy.sparse.linalg as spla
from jaxtyping import Float

from optlayers.arrays import Vector
from optlayers.cones import BlockDerivative
from optlayers.program import ConeProgram, Point


@final
@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """R(x, v): `dual` = Px + A'y + q and `primal` = Ax + s - b, with the scales that make them relative.

    `dual_scale` = max(|q|, |Px|, |A'y|) in the maximum norm. `primal_scale` holds one scale for each row: the larger of
    the row's own max(|b_i|, (|A| |x|)_i, s_i) and the largest of these over the active rows, so that a loose bound,
    however large, excuses no other row. Where the constant terms are zero, the largest entry of P or A stands in for
    them: a point near zero has a scale too.

    y: Pi(v), which is found on the way.
    """

    y: Float[np.ndarray, " m"]
    dual: Float[np.ndarray, " n"]
    primal: Float[np.ndarray, " m"]
    dual_scale: float
    primal_scale: Float[np.ndarray, " m"]

    @property
    def relative(self) -> float:
        """max(|dual| / dual_scale, |primal| / primal_scale), or infinity where a value is not finite."""
        value = max(_largest(self.dual) / self.dual_scale, _largest(self.primal / self.primal_scale))
        return value if np.isfinite(value) else np.inf


def evaluate(program: ConeProgram, x: Vector, v: Vector) -> Residual:
    """R(x, v) of the program."""
    y = program.structure.cones.project_dual(np, v)
    s = y - v
    Px, Ay, Ax = program.P @ x, program.A_transposed @ y, program.A @ x
    active = program.structure.cones.active(np, y)
    own = np.maximum(np.maximum(np.abs(program.b), program.A_magnitude @ np.abs(x)), np.abs(s))
    own = program.structure.cones.share_largest(own)
    return Residual(
        y,
        Px + Ay + program.q,
        Ax + s - program.b,
        _scale(program.q, program.P_values, Px, Ay),
        np.maximum(own, _scale(program.b[active], program.A_values, own[active])),
    )


def residual_operator(program: ConeProgram, D: BlockDerivative) -> spla.LinearOperator:
    """dR(x, v) = [[P, A'D], [A, D - I]] by its products."""
    n, m = program.structure.n, program.structure.m

    def multiply(z: Vector) -> Vector:
        w = D.apply(np, z[n:])
        return np.concatenate([program.P @ z[:n] + program.A_transposed @ w, program.A @ z[:n] + w - z[n:]])

    def multiply_transposed(r: Vector) -> Vector:
        upper = program.P @ r[:n] + program.A_transposed @ r[n:]
        return np.concatenate([upper, D.apply(np, program.A @ r[:n] + r[n:]) - r[n:]])

    return spla.LinearOperator((n + m, n + m), multiply, multiply_transposed, dtype=np.float64)


def relative_residual(program: ConeProgram, point: Point) -> float:
    """The relative residual of a point's (x, y - s)."""
    return evaluate(program, point.x, point.y - point.s).relative


def _scale(constant: Vector, coefficients: Vector, *terms: Vector) -> float:
    floor = _largest(constant) or _largest(coefficients) or 1.0
    return max(floor, *(_largest(term) for term in terms))


def _largest(vector: Vector) -> float:
    return float(np.abs(vector).max(initial=0.0))
