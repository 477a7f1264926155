"""The limited-memory BFGS method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, final

from optlayers.implicit.checks import check_count, check_kind
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.report import STAGNATED
from optlayers.implicit.solvers.abstract import AbstractIteration, Memory, Step
from optlayers.implicit.solvers.history import empty, pushed
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
    BFGS method for large scale optimization.
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
        none, ready = empty(problem.xp, z, self.depth), ~problem.xp.isnan(residual[..., 0])
        return z, residual, problem.framework.constant(problem.objective(z)), none, none, ready, ready

    def step(self, problem: Problem, z: Array, residual: Array, memory: Memory, moving: Array) -> Step:
        xp, (before, residual_before, value, s, y, found, _) = problem.xp, memory
        s, y = _with_pair(problem, (s, y), z - before, residual - residual_before)
        s, y = (xp.where(found[..., None, None], pairs, 0 * pairs) for pairs in (s, y))
        steepest = -first_length(problem, residual)[..., None] * residual
        direction = -_product(problem, s, y, residual)
        descends = problem.framework.constant(inner(xp, direction, residual)) < 0
        direction = xp.where(descends[..., None], direction, steepest)
        at = weak_wolfe(self.search, Line.of(problem, z, value, residual, direction), moving)
        memory = (z, residual, at.value, s, y, at.accepted, at.accepted | found)
        return Step(z + at.t[..., None] * direction, memory, at.gradient)

    def verdict(self, problem: Problem, residual: Array, memory: Memory, status: Array) -> Array:
        return problem.xp.where(memory[-1], status, STAGNATED)


def _with_pair(problem: Problem, pairs: tuple[Array, Array], s: Array, y: Array) -> tuple[Array, Array]:
    """The pairs (s, y) with a new one, in elements where its curvature is positive beyond rounding."""
    xp = problem.xp
    s_0, y_0 = problem.framework.constant((s, y))
    curvature, lengths = inner(xp, s_0, y_0), length(xp, s_0) * length(xp, y_0)
    keep = (curvature > float(xp.finfo(s.dtype).eps) * lengths)[..., None, None]
    old_s, old_y = pairs
    return xp.where(keep, pushed(xp, old_s, s), old_s), xp.where(keep, pushed(xp, old_y, y), old_y)


def _product(problem: Problem, s: Array, y: Array, v: Array) -> Array:
    """H v (*B, n) by the two-loop recursion; empty places of the history, s = y = 0, change nothing."""
    xp = problem.xp
    curvature = xp.sum(s * y, axis=-1)
    filled = curvature > 0
    inverse = xp.where(filled, 1 / xp.where(filled, curvature, xp.ones_like(curvature)), 0 * curvature)
    square = inner(xp, y[..., 0, :], y[..., 0, :])
    some = square > 0
    scale = xp.where(some, curvature[..., 0] / xp.where(some, square, xp.ones_like(square)), first_length(problem, v))
    weights = []
    for pair in range(s.shape[-2]):
        weights.append(inverse[..., pair] * inner(xp, s[..., pair, :], v))
        v = v - weights[pair][..., None] * y[..., pair, :]
    v = scale[..., None] * v
    for pair in reversed(range(s.shape[-2])):
        correction = weights[pair] - inverse[..., pair] * inner(xp, y[..., pair, :], v)
        v = v + correction[..., None] * s[..., pair, :]
    return v
