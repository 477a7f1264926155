"""What every iteration provides."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.stopping import Stop, check_limits, stop_of

Memory = tuple[Array, ...]
"""What an iteration remembers from one step to the next: arrays with the batch axes first."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AbstractIteration(abc.ABC):
    """An iteration for F(z) = 0, with its settings.

    tolerance, stop: an element stops where the largest entry of |F(z)| is at most `tolerance`, unless `stop` says
        otherwise.
    max_iterations: after which an element ends with the status ITERATION_LIMIT.
    divergence: an element whose residual exceeds the first one by this factor ends with the status DIVERGED.
    """

    tolerance: float = 1e-10
    max_iterations: int = 1000
    stop: Stop | str = Stop.ABSOLUTE
    divergence: float = 1e8

    name: ClassVar[str]

    differentiable_steps: ClassVar[bool] = True
    """Whether a step depends smoothly on the parameters, so that it can be unrolled."""

    def __post_init__(self) -> None:
        check_limits(type(self).__name__, self.tolerance, self.max_iterations)
        stop_of(self.stop)

    def check(self, problem: Problem, z: Array) -> None:  # noqa: B027 (most have nothing to refuse)
        """Raise `OptionError` where the iteration cannot solve such a problem."""

    @abc.abstractmethod
    def start(self, problem: Problem, z: Array, residual: Array) -> Memory:
        """What it remembers at first."""

    @abc.abstractmethod
    def step(self, problem: Problem, z: Array, residual: Array, memory: Memory) -> tuple[Array, Memory]:
        """The next point, given F(z), and what is remembered of it."""
