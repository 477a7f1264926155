"""Step lengths for descent methods: how far along a direction the objective has decreased enough.

Near a minimum the decrease of phi drowns in rounding long before the gradient does. So there is a second test, with
slopes alone: for a quadratic phi, phi(t) <= phi(0) + delta t phi'(0) is the same as phi'(t) <= (2 delta - 1) phi'(0).
It is asked for where phi(t) exceeds phi(0) by no more than its rounding (Hager and Zhang 2005, A new conjugate gradient
method with guaranteed descent and an efficient line search).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, final

from optlayers.implicit.checks import check_at_least, check_between, check_count, with_plain_numbers
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
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
    """phi(z + t direction), with its value and slope at t = 0; arrays without derivatives."""

    problem: Problem
    z: Array
    direction: Array
    value: Array
    slope: Array

    @classmethod
    def of(cls, problem: Problem, z: Array, residual: Array, direction: Array) -> Line:
        """From z, where the gradient is `residual`."""
        constant, problem = problem.framework.constant, problem.constant()
        z, residual, direction = constant(z), constant(residual), constant(direction)
        return cls(problem, z, direction, problem.objective(z), inner(problem.xp, residual, direction))

    def at(self, t: Array) -> tuple[Array, Array]:
        """(*B) the value and the slope at t."""
        value, pullback = self.problem.framework.vjp(self.problem.objective, self.z + t[..., None] * self.direction)
        slope = inner(self.problem.xp, pullback(self.problem.xp.ones_like(value)), self.direction)
        return value, slope


@final
class Trial(NamedTuple):
    """For each element: the length that is tried next, the interval that brackets acceptable ones, whether the last one
    tried was accepted, and how many were."""

    t: Array
    low: Array
    high: Array
    accepted: Array
    count: Array


def weak_wolfe(search: LineSearch, line: Line) -> tuple[Array, Array]:
    """(*B) t of sufficient decrease and curvature, from t = 1 by doubling and bisection; and whether there is one.

    s'y > 0 for the step of such a length. Otherwise t is the longest length tried of decrease, or 0.
    """
    xp = line.problem.xp

    def attempt(trial: Trial) -> Trial:
        value, slope = line.at(trial.t)
        decreased = value <= line.value + search.sufficient_decrease * trial.t * line.slope
        decreased = decreased | _decreased_by_slopes(search, line, value, slope)
        accepted = decreased & (slope >= search.curvature * line.slope)
        too_short = (value <= line.value + _noise(search, line)) & (slope < search.curvature * line.slope)
        low = xp.where(too_short, trial.t, trial.low)
        high = xp.where(too_short, trial.high, trial.t)
        t = xp.where(xp.isfinite(high), (low + high) / 2, 2 * trial.t)
        return Trial(xp.where(accepted, trial.t, t), low, high, accepted, trial.count + 1)

    return _searched(search, line, attempt, lambda trial: trial.low)


def armijo(search: LineSearch, line: Line, reference: Array) -> tuple[Array, Array]:
    """(*B) t of sufficient decrease below the reference value, from t = 1 by halves; and whether there is one.

    Otherwise t is 0.
    """
    xp = line.problem.xp

    def attempt(trial: Trial) -> Trial:
        value, slope = line.at(trial.t)
        accepted = value <= reference + search.sufficient_decrease * trial.t * line.slope
        accepted = accepted | _decreased_by_slopes(search, line, value, slope)
        return trial._replace(t=xp.where(accepted, trial.t, trial.t / 2), accepted=accepted, count=trial.count + 1)

    return _searched(search, line, attempt, lambda trial: 0 * trial.low)


def _searched(search: LineSearch, line: Line, attempt: Any, otherwise: Any) -> tuple[Array, Array]:
    xp = line.problem.xp

    def going(trial: Trial) -> Array:
        return ~trial.accepted & (trial.count < search.max_trials)

    def body(trial: Trial) -> Trial:
        still, tried = going(trial), attempt(trial)
        return Trial(*(xp.where(still, new, old) for new, old in zip(tried, trial, strict=True)))

    one = xp.ones_like(line.slope)
    begin = Trial(one, 0 * one, xp.full_like(one, float("inf")), one < 0, xp.zeros_like(one, dtype=xp.int32))
    trial = line.problem.framework.while_loop(going, body, begin)
    return xp.where(trial.accepted, trial.t, otherwise(trial)), trial.accepted


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
