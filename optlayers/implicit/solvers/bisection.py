"""Bisection."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

from optlayers.errors import OptionError
from optlayers.implicit.checks import is_number, wrong
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array, Function
from optlayers.implicit.report import DIVERGED, INACCURATE, NO_SIGN_CHANGE
from optlayers.implicit.solvers.abstract import AbstractIteration, Memory, Step


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Bisection(AbstractIteration):
    """A root of one unknown in an interval: F(low) F(high) <= 0 always, and the interval is halved in each step.

    Converges for every continuous F with a change of sign, by one bit a step. z0 is the first point tried, where it
    lies in the interval; a z0 that is a solution is returned wherever it lies. An element without a change of sign ends
    as NO_SIGN_CHANGE. One whose interval has shrunk to neighbouring numbers with |F| still above the tolerance ends as
    INACCURATE, a solution with a warning, since no z is better: F is too steep for the tolerance, or jumps; but as
    DIVERGED where |F| is larger than at both ends of the first interval: F has a pole.

    low, high: the interval, numbers or arrays that broadcast to the batch *B; nothing is differentiated by them.
    """

    low: Any
    high: Any

    name: ClassVar[str] = "bisection"
    differentiable_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, end in (("low", self.low), ("high", self.high)):
            if not is_number(end) and not hasattr(end, "dtype"):
                raise wrong("Bisection", name, end, "a finite number, or an array that broadcasts to the batch,")

    def mapped(self, function: Function) -> Bisection:
        low, high = (function(end) if hasattr(end, "dtype") else end for end in (self.low, self.high))
        return replace(self, low=low, high=high)

    def check(self, problem: Problem, z: Array) -> None:
        if z.shape[-1] != 1:
            raise OptionError(f"Bisection solves for one unknown in each element of the batch, not for {z.shape[-1]}.")
        for name, end in (("low", self.low), ("high", self.high)):
            shape = tuple(getattr(end, "shape", ()))
            batch = tuple(z.shape[:-1])
            if len(shape) > len(batch) or any(
                size not in (1, of) for size, of in zip(reversed(shape), reversed(batch), strict=False)
            ):
                raise OptionError(f"Bisection({name}=): shape {shape} does not broadcast to the batch {batch}.")

    def start(self, problem: Problem, z: Array, residual: Array) -> Memory:
        xp = problem.xp
        low, high = _filled(xp, z, self.low), _filled(xp, z, self.high)
        at_low, at_high = problem.residual(low), problem.residual(high)
        sign = xp.sign(at_low)
        bracketed = sign * xp.sign(at_high) <= 0
        steepest = xp.where(xp.abs(at_low) > xp.abs(at_high), xp.abs(at_low), xp.abs(at_high))
        return low, high, sign, steepest, bracketed, bracketed

    def step(self, problem: Problem, z: Array, residual: Array, memory: Memory, moving: Array) -> Step:
        xp, (low, high, sign, steepest, bracketed, _) = problem.xp, memory
        smaller, larger = xp.where(low < high, low, high), xp.where(low < high, high, low)
        inside, as_low = (z > smaller) & (z < larger), xp.sign(residual) == sign
        low, high = xp.where(inside & as_low, z, low), xp.where(inside & ~as_low, z, high)
        middle = low + (high - low) / 2
        return Step(middle, (low, high, sign, steepest, bracketed, (middle != low) & (middle != high)))

    def verdict(self, problem: Problem, residual: Array, memory: Memory, status: Array) -> Array:
        xp, (_, _, _, steepest, bracketed, divisible) = problem.xp, memory
        running = status[..., None]
        last = xp.where(xp.abs(residual) <= steepest, INACCURATE, xp.full_like(running, DIVERGED))
        return xp.where(bracketed, xp.where(divisible, running, last), NO_SIGN_CHANGE)[..., 0]


def _filled(xp: Any, z: Array, end: Any) -> Array:
    """An array like z (*B, 1), of numbers that broadcast to *B."""
    if not hasattr(end, "shape"):
        return xp.full_like(z, end)
    return xp.zeros_like(z) + xp.asarray(end, dtype=z.dtype)[..., None]
