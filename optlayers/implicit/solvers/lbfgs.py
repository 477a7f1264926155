"""The limited-memory BFGS method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, final

from optlayers.implicit.checks import check_count, check_kind
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.linear.elementwise import selected
from optlayers.implicit.report import STAGNATED
from optlayers.implicit.solvers.abstract import AbstractIteration, Memory, Step
from optlayers.implicit.solvers.history import combined, empty, products, pushed
from optlayers.implicit.solvers.line_search import Line, LineSearch, first_length, weak_wolfe
from optlayers.implicit.stopping import inner, length


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class LBFGS(AbstractIteration):
    """z <- z - t H grad phi, for argmin; H the BFGS matrix of the last changes s of z and y of the gradient.

    H y = s for the newest pair, and H is positive definite, since pairs are kept only where s'y > 0, which the line
    search provides. Converges to a stationary point of a phi that is bounded below, linearly, and fast where the
    spectrum of the second derivative is clustered. An element in which neither the direction nor, the pairs forgotten,
    the gradient leads to a lower phi ends as STAGNATED: the tolerance lies below the rounding of the gradient.

    depth: the number of pairs.
    search: the line search, by the weak Wolfe conditions.

    In unrolled derivatives t is a constant; with few pairs (depth=1 was seen to) they may not converge with z.

    Nocedal (1980), Updating quasi-Newton matrices with limited storage; Liu and Nocedal (1989), On the limited memory
    BFGS method for large scale optimization; Byrd, Nocedal and Schnabel (1994), Representations of quasi-Newton
    matrices and their use in limited memory methods.
    """

    depth: int = 10
    search: LineSearch = field(default_factory=LineSearch)

    name: ClassVar[str] = "L-BFGS"
    minimizes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("LBFGS", "depth", self.depth)
        check_kind("LBFGS", "search", self.search, LineSearch, "a line search, such as LineSearch(),")

    def start(self, problem: Problem, z: Array, residual: Array) -> Memory:
        xp, none = problem.xp, empty(problem.xp, z, self.depth)
        value, ready = problem.framework.constant(problem.objective(z)), ~xp.isnan(residual[..., 0])
        inverse = xp.zeros_like(none[..., :1] + none[..., None, :, 0])
        return z, residual, value, none, none, inverse, ready, ready

    def step(self, problem: Problem, z: Array, residual: Array, memory: Memory, moving: Array) -> Step:
        xp, (before, residual_before, value, s, y, inverse, found, _) = problem.xp, memory
        pairs = _with_pair(problem, Pairs(s, y, inverse), z - before, residual - residual_before)
        # Where no length was found, the pairs are forgotten.
        pairs = pairs._replace(inverse=xp.where(found[..., None, None], pairs.inverse, 0 * pairs.inverse))
        direction = -_product(problem, pairs, residual)
        descends = problem.framework.constant(inner(xp, direction, residual)) < 0
        steepest = -first_length(problem, residual)[..., None] * residual
        direction = xp.where(descends[..., None], direction, steepest)
        at = weak_wolfe(self.search, Line.of(problem, z, value, residual, direction), moving)
        memory = (z, residual, at.value, *pairs, at.accepted, at.accepted | found)
        return Step(z + at.t[..., None] * direction, memory, at.gradient)

    def verdict(self, problem: Problem, residual: Array, memory: Memory, status: Array) -> Array:
        return problem.xp.where(memory[-1], status, STAGNATED)


@final
class Pairs(NamedTuple):
    """The last changes s of z and y of the gradient (*B, depth, n), the newest first, and the inverse (*B, depth,
    depth) of the matrix of s_i' y_j, j <= i, which is lower triangular; its rows and columns are 0 where there is no
    pair, or one that is forgotten.
    """

    s: Array
    y: Array
    inverse: Array


def _with_pair(problem: Problem, pairs: Pairs, s: Array, y: Array) -> Pairs:
    """The pairs with a new one, in elements where its curvature is positive beyond rounding."""
    xp, curvature = problem.xp, inner(problem.xp, s, y)
    s_0, y_0, curvature_0 = problem.framework.constant((s, y, curvature))
    keep = curvature_0 > float(xp.finfo(s.dtype).eps) * length(xp, s_0) * length(xp, y_0)
    one = xp.ones_like(curvature)
    column = -products(xp, pairs.inverse, products(xp, pairs.s, y))[..., :-1]
    column = xp.concatenate([one[..., None], column], axis=-1) / xp.where(keep, curvature, one)[..., None]
    rest = pushed(xp, pairs.inverse, 0 * pairs.inverse[..., 0])[..., :-1]
    inverse = xp.concatenate([column[..., None], rest], axis=-1)
    new = Pairs(pushed(xp, pairs.s, s), pushed(xp, pairs.y, y), inverse)
    return Pairs(*(selected(xp, keep, with_it, without) for with_it, without in zip(new, pairs, strict=True)))


def _product(problem: Problem, pairs: Pairs, v: Array) -> Array:
    """H v (*B, n): the two loops of the recursion are a solution with the triangular matrix of `Pairs` each."""
    xp, (s, y, inverse) = problem.xp, pairs
    weights = products(xp, inverse, products(xp, s, v))
    product = inverse[..., 0, 0] * inner(xp, y[..., 0, :], y[..., 0, :])
    some = product > 0
    scale = xp.where(some, 1 / xp.where(some, product, xp.ones_like(product)), first_length(problem, v))
    v = scale[..., None] * (v - combined(xp, y, weights))
    weights = combined(xp, inverse, xp.sum(s * y, axis=-1) * weights - products(xp, y, v))
    return v + combined(xp, s, weights)
