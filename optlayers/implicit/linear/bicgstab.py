"""BiCGStab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

from optlayers.implicit.framework import Array
from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.elementwise import advanced, counter, nothing, quotient
from optlayers.implicit.linear.refinement import Going, Pass, refined
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import NUMERICAL_ERROR
from optlayers.implicit.stopping import inner, length


@final
class Biconjugate(NamedTuple):
    """d (*E, *B, n), its residual r, the shadow of the first one, the direction p; and, for each element, shadow'r,
    |r|, the iterations, and whether it broke down."""

    d: Array
    r: Array
    shadow: Array
    p: Array
    rho: Array
    norm: Array
    iterations: Array
    broken: Array


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class BiCGStab(AbstractLinearSolver):
    """The residual is (I - w_k A) ... (I - w_1 A) times that of biconjugate gradients, each w_k chosen to make it small
    (van der Vorst 1992).

    An iteration is two products with A. Memory: seven vectors of the batch, however many iterations. No transpose.

    Where shadow'r or w_k vanishes, it goes on from the present residual as if it were the first. Where r'A r vanishes
    at such a beginning, as it always does for skew-symmetric A, there is no way on: NUMERICAL_ERROR; GMRES has one. The
    residual may grow by far before it falls, and digits are lost with it; they are won back by a further pass.
    """

    name: ClassVar[str] = "BiCGStab"

    def solve(self, operator: LinearOperator, rhs: Array) -> LinearSolution:
        xp, eps = operator.xp, operator.xp.finfo(rhs.dtype).eps
        multiply, inverse = operator.multiply(), self.approximate_inverse(operator)

        def run(r: Array, norm: Array, going: Going) -> Pass:
            def on(at: Biconjugate) -> Array:
                return going.on(xp, at.iterations, at.norm, lambda: at.d) & ~at.broken

            def body(at: Biconjugate) -> Biconjugate:
                direction = inverse(at.p)
                v = multiply(direction)
                slope = inner(xp, at.shadow, v)
                lost = xp.abs(slope) <= eps * length(xp, at.shadow) * length(xp, v)
                begun = lost & ~xp.any(at.p != at.r, -1)
                a = xp.where(lost, 0 * slope, quotient(xp, at.rho, slope))[..., None]
                s = at.r - a * v
                smoothed = inverse(s)
                t = multiply(smoothed)
                along = inner(xp, t, s)
                w = quotient(xp, along, inner(xp, t, t))
                r = s - w[..., None] * t
                rho, norm = inner(xp, at.shadow, r), length(xp, r)
                # w = 0, or so small that nothing but rounding is in it, leaves p undefined.
                flat = xp.abs(along) <= eps * length(xp, t) * length(xp, s)
                anew = lost | flat | (xp.abs(rho) <= eps * length(xp, at.shadow) * norm)
                b = quotient(xp, rho, at.rho)[..., None] * a * quotient(xp, xp.ones_like(w), w)[..., None]
                p = r + b * (at.p - w[..., None] * v)
                new = Biconjugate(
                    at.d + a * direction + w[..., None] * smoothed,
                    r,
                    xp.where(anew[..., None], r, at.shadow),
                    xp.where(anew[..., None], r, p),
                    xp.where(anew, norm * norm, rho),
                    norm,
                    at.iterations + 1,
                    begun & flat,
                )
                return advanced(xp, on(at), new, at)

            start = Biconjugate(xp.zeros_like(r), r, r, r, norm * norm, norm, counter(xp, norm), nothing(xp, norm))
            at = operator.framework.while_loop(on, body, start)
            return Pass(at.d, at.iterations, counter(xp, norm, NUMERICAL_ERROR), xp.full_like(norm, float("nan")))

        return refined(self, operator, rhs, multiply, run)
