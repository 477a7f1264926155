"""The truncated Neumann series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

from optlayers.implicit.checks import check_count
from optlayers.implicit.framework import Array
from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.elementwise import advanced, counter, scaled
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import DIVERGED, INACCURATE, SOLVED, LinearInfo
from optlayers.implicit.stopping import length


@final
class Series(NamedTuple):
    """y (*E, *B, n), the sum so far, the next term, which is the residual, and how many terms have been added."""

    y: Array
    term: Array
    terms: Array


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Neumann(AbstractLinearSolver):
    """u = sum of (I - A)^k rhs over k < terms, the Neumann series of A^-1 rhs, truncated: an approximation, by choice.
    For a fixed point z = g(z), I - A is the derivative of g. With a preconditioner, A M^-1 stands for A, and
    u = M^-1 times the sum.

    terms: how many, fewer where the residual meets `tolerance` before. max_iterations is not used.

    rhs - A u = (I - A)^terms rhs, so that the residual is the first term left out, and is reported. Where it meets the
    tolerance the status is SOLVED; where it does not, INACCURATE: the sum is returned, with a warning and no error, as
    it is what was asked for. Where it is no smaller than rhs, u is no better than 0: DIVERGED. The series converges
    where the spectral radius of I - A is below one.

    Source: Lorraine, Vicol, Duvenaud (2020), Optimizing millions of hyperparameters by implicit differentiation.
    """

    terms: int = 10

    name: ClassVar[str] = "the Neumann series"

    def __post_init__(self) -> None:
        AbstractLinearSolver.__post_init__(self)
        check_count("Neumann", "terms", self.terms)

    def ends(self, bound: str) -> str:
        return f"truncated: the sum of {self.terms} terms, or fewer where {bound}; not exact"

    def solve(self, operator: LinearOperator, rhs: Array) -> LinearSolution:
        xp = operator.xp
        rhs, scale = scaled(xp, rhs)
        first = length(xp, rhs)
        multiply, inverse = operator.multiply(), self.approximate_inverse(operator)

        def solved(at: Series) -> Array:
            size = length(xp, inverse(at.y))
            return length(xp, at.term) * scale <= self.bound(xp, first * scale, size * scale)

        def on(at: Series) -> Array:
            return (at.terms < self.terms) & ~solved(at)

        def body(at: Series) -> Series:
            new = Series(at.y + at.term, at.term - multiply(inverse(at.term)), at.terms + 1)
            return advanced(xp, on(at), new, at)

        at = operator.framework.while_loop(on, body, Series(xp.zeros_like(rhs), rhs, counter(xp, first)))
        residual = length(xp, at.term)
        status = xp.where(residual < first, counter(xp, first, INACCURATE), counter(xp, first, DIVERGED))
        status = xp.where(solved(at), counter(xp, first, SOLVED), status)
        info = LinearInfo(status, residual * scale, at.terms, xp.full_like(residual, float("nan")))
        return LinearSolution(inverse(at.y) * scale[..., None], info)
