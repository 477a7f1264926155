"""The method of conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

from optlayers.implicit.framework import Array
from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.elementwise import advanced, counter, nothing, quotient
from optlayers.implicit.linear.refinement import Going, Pass, refined
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import NUMERICAL_ERROR, SINGULAR
from optlayers.implicit.stopping import inner, length


@final
class Directions(NamedTuple):
    """d (*E, *B, n), its residual r and direction p; and, for each element, r'M^-1 r, |r|, the largest |A p| / |p|, the
    iterations, whether p'A p vanished, and whether A p did."""

    d: Array
    r: Array
    p: Array
    product: Array
    norm: Array
    size: Array
    iterations: Array
    broken: Array
    singular: Array


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class ConjugateGradients(AbstractLinearSolver):
    """u in span{r, A r, ...} that minimises u'A u / 2 - rhs'u, for symmetric positive definite A (Hestenes and Stiefel
    1952); with a preconditioner, which must be positive definite too, in span{M^-1 r, M^-1 A M^-1 r, ...}.

    Iterations are products with A. Memory: four vectors of the batch. A positive semidefinite A does where rhs is in
    its range; u has minimum norm then, without a preconditioner.

    At a saddle or a maximum A is indefinite. The recurrence holds as long as p'A p does not vanish, and what it finds
    is judged by its residual; but nothing is minimised, and it may break down: NUMERICAL_ERROR. GMRES does not.
    """

    name: ClassVar[str] = "conjugate gradients"
    symmetric_only: ClassVar[bool] = True

    def solve(self, operator: LinearOperator, rhs: Array) -> LinearSolution:
        xp, eps = operator.xp, operator.xp.finfo(rhs.dtype).eps
        multiply, inverse = operator.multiply(), self.approximate_inverse(operator)

        def run(r: Array, norm: Array, going: Going) -> Pass:
            def on(at: Directions) -> Array:
                return going.on(xp, at.iterations, at.norm, lambda: at.d) & ~at.broken

            def body(at: Directions) -> Directions:
                Ap = multiply(at.p)
                curvature, length_p, length_Ap = inner(xp, at.p, Ap), length(xp, at.p), length(xp, Ap)
                size = xp.maximum(at.size, quotient(xp, length_Ap, length_p))
                singular = length_Ap <= eps * size * length_p
                broken = singular | (xp.abs(curvature) <= eps * length_p * length_Ap) | (at.product == 0)
                step = xp.where(broken, 0 * curvature, quotient(xp, at.product, curvature))[..., None]
                r = at.r - step * Ap
                z = inverse(r)
                product = inner(xp, r, z)
                p = z + quotient(xp, product, at.product)[..., None] * at.p
                new = Directions(
                    at.d + step * at.p, r, p, product, length(xp, r), size, at.iterations + 1, broken, singular
                )
                return advanced(xp, on(at), new, at)

            z, unset = inverse(r), nothing(xp, norm)
            start = Directions(xp.zeros_like(r), r, z, inner(xp, r, z), norm, 0 * norm, counter(xp, norm), unset, unset)
            at = operator.framework.while_loop(on, body, start)
            failure = xp.where(at.singular, counter(xp, norm, SINGULAR), counter(xp, norm, NUMERICAL_ERROR))
            return Pass(at.d, at.iterations, failure, xp.full_like(norm, float("nan")))

        return refined(self, operator, rhs, multiply, run)
