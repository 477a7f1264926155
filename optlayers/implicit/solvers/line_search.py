"""Step lengths for descent methods: how far along a direction the objective has decreased enough.

Near a minimum the decrease of phi drowns in rounding long before the gradient does. So there is a second test, with
slopes alone: for a quadratic phi, phi(t) <= phi(0) + delta t phi'(0) is the same as phi'(t) <= (2 delta - 1) phi'(0).
It is asked for where phi(t) exceeds phi(0) by no more than its rounding (Hager and Zhang 2005, A new conjugate gradient
method with guaranteed descent and an efficient line search).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from optlayers.implicit.checks import check_at_least, check_between, check_count, with_plain_numbers
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.linear.elementwise import advanced
from optlayers.implicit.shown import chosen
from optlayers.implicit.stopping import inner, length


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class LineSearch:
    """When a step length t is accepted.

    sufficient_decrease: delta in phi(t) <= phi(0) + delta t phi'(0).
    curvature: sigma in phi'(t) >= sigma phi'(0).
    noise: differences of phi up to noise eps |phi|, eps the precision of its numbers, are taken for rounding.
    max_trials: how many lengths are tried at most.
    """

    sufficient_decrease: float = 1e-4
    curvature: float = 0.9
    noise: float = 1e4
    max_trials: int = 40

    def __post_init__(self) -> None:
        with_plain_numbers(self)
        check_between("LineSearch", "sufficient_decrease", self.sufficient_decrease, 0.0, 0.5)
        check_between("LineSearch", "curvature", self.curvature, self.sufficient_decrease, 1.0)
        check_at_least("LineSearch", "noise", self.noise, 0.0)
        check_count("LineSearch", "max_trials", self.max_trials)

    def __repr__(self) -> str:
        return chosen(self)


@final
class Line(NamedTuple):
    """phi(z + t direction), with its value, gradient and slope at t = 0; arrays without derivatives."""

    problem: Problem
    z: Array
    direction: Array
    value: Array
    gradient: Array
    slope: Array

    @classmethod
    def of(cls, problem: Problem, z: Array, value: Array, gradient: Array, direction: Array) -> Line:
        """From z, where phi has this value and this gradient."""
        z, value, gradient, direction = problem.framework.constant((z, value, gradient, direction))
        return cls(problem.constant(), z, direction, value, gradient, inner(problem.xp, gradient, direction))

    def at(self, t: Array) -> tuple[Array, Array, Array]:
        """phi (*B), its gradient (*B, n) and the slope (*B) at t."""
        value, pullback = self.problem.framework.vjp(self.problem.objective, self.z + t[..., None] * self.direction)
        gradient = pullback(self.problem.xp.ones_like(value))
        return value, gradient, inner(self.problem.xp, gradient, self.direction)


@final
class Search(NamedTuple):
    """Where a line search stands, for each element: the best length t so far, 0 at first, with phi and its gradient
    there; whether it is accepted; the length that is tried next; the shortest that was too long; how many were tried.
    """

    t: Array
    value: Array
    gradient: Array
    accepted: Array
    following: Array
    high: Array
    count: Array


def weak_wolfe(search: LineSearch, line: Line, moving: Array) -> Search:
    """For the elements (*B) that are `moving`, t of sufficient decrease and curvature, from t = 1 by doubling and
    bisection.

    s'y > 0 for the step of such a length. Where none is accepted, t is the longest length tried of decrease, or 0.
    """
    xp = line.problem.xp

    def attempt(at: Search) -> Search:
        t, (value, gradient, slope) = at.following, line.at(at.following)
        decreased = value <= line.value + search.sufficient_decrease * t * line.slope
        decreased = decreased | _decreased_by_slopes(search, line, value, slope)
        accepted = decreased & (slope >= search.curvature * line.slope)
        too_short = (value <= line.value + _noise(search, line)) & (slope < search.curvature * line.slope)
        low, high = xp.where(too_short, t, at.t), xp.where(too_short, at.high, t)
        following = xp.where(xp.isfinite(high), (low + high) / 2, 2 * t)
        at = _moved(xp, at, too_short | accepted, t, value, gradient)
        return at._replace(accepted=accepted, following=following, high=high)

    return _searched(search, line, moving, attempt)


def armijo(search: LineSearch, line: Line, moving: Array, reference: Array) -> Search:
    """For the elements (*B) that are `moving`, t of sufficient decrease below the reference value, from t = 1 by
    halves; where none is accepted, 0.
    """
    xp = line.problem.xp

    def attempt(at: Search) -> Search:
        t, (value, gradient, slope) = at.following, line.at(at.following)
        accepted = value <= reference + search.sufficient_decrease * t * line.slope
        accepted = accepted | _decreased_by_slopes(search, line, value, slope)
        at = _moved(xp, at, accepted, t, value, gradient)
        return at._replace(accepted=accepted, following=t / 2)

    return _searched(search, line, moving, attempt)


def _searched(search: LineSearch, line: Line, moving: Array, attempt: Callable[[Search], Search]) -> Search:
    """The search to its end; along a line that ascends nothing is tried."""
    xp, wanted = line.problem.xp, moving & (line.slope <= 0)

    def going(at: Search) -> Array:
        return wanted & ~at.accepted & (at.count < search.max_trials)

    def body(at: Search) -> Search:
        return advanced(xp, going(at), attempt(at)._replace(count=at.count + 1), at)

    zero, one = xp.zeros_like(line.slope), xp.ones_like(line.slope)
    count = xp.zeros_like(one, dtype=xp.int32)
    begin = Search(zero, line.value, line.gradient, zero > 0, one, xp.full_like(one, float("inf")), count)
    result: Search = line.problem.framework.while_loop(going, body, begin)
    return result


def _moved(xp: Any, at: Search, better: Array, t: Array, value: Array, gradient: Array) -> Search:
    """After t, which is better than what was found so far in these elements."""
    return at._replace(
        t=xp.where(better, t, at.t),
        value=xp.where(better, value, at.value),
        gradient=xp.where(better[..., None], gradient, at.gradient),
    )


def _noise(search: LineSearch, line: Line) -> Array:
    xp = line.problem.xp
    return search.noise * float(xp.finfo(line.value.dtype).eps) * xp.abs(line.value)


def _decreased_by_slopes(search: LineSearch, line: Line, value: Array, slope: Array) -> Array:
    flat = value <= line.value + _noise(search, line)
    return flat & (slope <= (2 * search.sufficient_decrease - 1) * line.slope)


def first_length(problem: Problem, residual: Array) -> Array:
    """(*B) 1 / max(1, |gradient|), for a step along the gradient of which nothing else is known."""
    norm = problem.framework.constant(length(problem.xp, residual))
    return 1 / problem.xp.where(norm > 1, norm, problem.xp.ones_like(norm))
