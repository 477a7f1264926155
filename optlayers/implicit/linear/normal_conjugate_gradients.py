"""Conjugate gradients on the normal equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

from optlayers.implicit.framework import Array
from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.elementwise import advanced, counter, nothing, quotient
from optlayers.implicit.linear.least_squares import orthogonal, products
from optlayers.implicit.linear.refinement import Going, Pass, refined
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import NUMERICAL_ERROR, SINGULAR
from optlayers.implicit.stopping import length


@final
class NormalDirections(NamedTuple):
    """y (*E, *B, n), its residual r, s = B'r, and the direction p; and, for each element, |s|, |r|, the largest
    |B p| / |p|, the iterations, and whether r is orthogonal to the range."""

    y: Array
    r: Array
    s: Array
    p: Array
    normal: Array
    norm: Array
    size: Array
    iterations: Array
    orthogonal: Array


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class NormalConjugateGradients(AbstractLinearSolver):
    """Conjugate gradients on A'A u = A'rhs, without forming A'A (CGNR; Hestenes and Stiefel 1952).

    An iteration is a product with A and one with A'. Memory: five vectors of the batch. Works for any A, but converges
    as the square of its condition number says, and loses digits so; LSMR is to be preferred for ill-conditioned ones.

    For a singular A it finds the u of minimum norm (with a preconditioner M, of minimum |M u|) among those that
    minimise |A u - rhs|. Where that leaves a residual, rhs being outside the range of A, the status is SINGULAR; so it
    is where the condition number exceeds that of `orthogonal`, which cannot be told from it.
    """

    name: ClassVar[str] = "conjugate gradients on the normal equations"

    def solve(self, operator: LinearOperator, rhs: Array) -> LinearSolution:
        xp = operator.xp
        multiply, forward, backward, inverse = products(self, operator)

        def run(r: Array, norm: Array, going: Going) -> Pass:
            def on(at: NormalDirections) -> Array:
                return going.on(xp, at.iterations, at.norm, lambda: inverse(at.y)) & ~at.orthogonal

            def body(at: NormalDirections) -> NormalDirections:
                q = forward(at.p)
                length_q = length(xp, q)
                size = xp.maximum(at.size, quotient(xp, length_q, length(xp, at.p)))
                step = quotient(xp, at.normal, length_q)
                step = (step * step)[..., None]
                r = at.r - step * q
                s = backward(r)
                normal, norm = length(xp, s), length(xp, r)
                ratio = quotient(xp, normal, at.normal)
                p = s + (ratio * ratio)[..., None] * at.p
                ends = orthogonal(xp, self.tolerance, normal, size, norm) | (length_q == 0)
                new = NormalDirections(at.y + step * at.p, r, s, p, normal, norm, size, at.iterations + 1, ends)
                return advanced(xp, on(at), new, at)

            s = backward(r)
            normal = length(xp, s)
            start = NormalDirections(
                xp.zeros_like(r), r, s, s, normal, norm, 0 * norm, counter(xp, norm), nothing(xp, norm)
            )
            at = operator.framework.while_loop(on, body, start._replace(orthogonal=normal == 0))
            failure = xp.where(at.orthogonal, counter(xp, norm, SINGULAR), counter(xp, norm, NUMERICAL_ERROR))
            return Pass(inverse(at.y), at.iterations, failure, xp.full_like(norm, float("nan")))

        return refined(self, operator, rhs, multiply, run)
