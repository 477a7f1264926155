"""What every iteration provides."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

from optlayers.errors import OptionError
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.stopping import Stop, check_count, check_limits, stop_of

Memory = tuple[Array, ...]
"""What an iteration remembers from one step to the next: arrays with the batch axes first."""


@final
class Step(NamedTuple):
    """The point z that a step reaches, what is remembered of it, and, if the step has met it, F(z), without
    derivatives."""

    z: Array
    memory: Memory
    residual: Array | None = None


@dataclass(frozen=True, kw_only=True)
class AbstractIteration(abc.ABC):
    """An iteration for F(z) = 0, with its settings.

    tolerance, stop: an element stops where the largest entry of |F(z)| is at most `tolerance`, unless `stop` says
        otherwise. None: eps^(2/3) of z's dtype, 3.7e-11 in double and 2.4e-5 in single precision.
    max_iterations: after which an element ends with the status ITERATION_LIMIT.
    divergence: an element whose residual exceeds the first one by this factor ends with the status DIVERGED.
    patience: an element whose residual has not fallen below its smallest in as many iterations ends with the status
        STAGNATED; None: never. For iterations whose residual falls monotonically it saves the time up to the limit
        where rounding (float32) keeps the residual above the tolerance; others may need long to get over a hill.
    """

    tolerance: float | None = None
    max_iterations: int = 1000
    stop: Stop | str = Stop.ABSOLUTE
    divergence: float = 1e8
    patience: int | None = None

    name: ClassVar[str]

    differentiable_steps: ClassVar[bool] = True
    """Whether a step depends smoothly on the parameters, so that it can be unrolled."""

    minimizes: ClassVar[bool] = False
    """Whether it needs the objective phi of an argmin."""

    def __post_init__(self) -> None:
        check_limits(type(self).__name__, 1.0 if self.tolerance is None else self.tolerance, self.max_iterations)
        stop_of(self.stop)
        if self.patience is not None:
            check_count(type(self).__name__, "patience", self.patience)

    def tolerance_at(self, eps: float) -> float:
        """The tolerance for numbers of precision eps."""
        return eps ** (2 / 3) if self.tolerance is None else self.tolerance

    def check(self, problem: Problem, z: Array) -> None:
        """Raise `OptionError` where the iteration cannot solve such a problem."""
        if self.minimizes and problem.equation.objective is None:
            raise OptionError(
                f"{type(self).__name__} minimises; it solves argmin only, not {problem.equation.kind}. Take another "
                "solver, such as Newton(), Broyden() or Anderson()."
            )

    @abc.abstractmethod
    def start(self, problem: Problem, z: Array, residual: Array) -> Memory:
        """What it remembers at first."""

    @abc.abstractmethod
    def step(self, problem: Problem, z: Array, residual: Array, memory: Memory, moving: Array) -> Step:
        """The next point, given F(z), of the elements (*B) that are `moving`; what it says of others is not used."""

    def verdict(self, problem: Problem, residual: Array, memory: Memory, status: Array) -> Array:
        """The status (*B), replaced in elements that the iteration itself ends at the point that it has just reached,
        unless that is a solution."""
        return status

    def at_solution(self) -> AbstractIteration:
        """The iteration of which one step from the solution is differentiated (`Semantics.ONE_STEP`).

        Raises `OptionError` where a step says little of the solution's derivative.
        """
        return self
