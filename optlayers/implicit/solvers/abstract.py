"""What every iteration provides."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

from optlayers.errors import OptionError
from optlayers.implicit.checks import check_at_least, check_count, check_positive, with_plain_numbers
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array, Function
from optlayers.implicit.linear.abstract import AbstractLinearSolver
from optlayers.implicit.shown import chosen
from optlayers.implicit.stopping import Stop, stop_of

Memory = tuple[Array, ...]
"""What an iteration remembers from one step to the next: arrays with the batch axes first."""


@final
class Step(NamedTuple):
    """The point z that a step reaches, what is remembered of it, and, if the step has met it, F(z), without
    derivatives."""

    z: Array
    memory: Memory
    residual: Array | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
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
        with_plain_numbers(self)
        name = type(self).__name__
        if self.tolerance is not None:
            check_positive(name, "tolerance", self.tolerance)
        check_count(name, "max_iterations", self.max_iterations)
        stop_of(self.stop)
        check_at_least(name, "divergence", self.divergence, 1.0, infinite=True)
        if self.patience is not None:
            check_count(name, "patience", self.patience)

    def __repr__(self) -> str:
        return chosen(self)

    def mapped(self, function: Function) -> AbstractIteration:
        """The same, with what the function makes of each of its arrays in their place."""
        return self

    def tolerance_at(self, eps: float) -> float:
        """The tolerance for numbers of precision eps."""
        return eps ** (2 / 3) if self.tolerance is None else self.tolerance

    def check(self, problem: Problem, z: Array) -> None:
        """Raise `OptionError` where the iteration cannot solve a problem of such a shape."""
        return

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

    def linear_step(self) -> AbstractLinearSolver:
        """What stands for the solution of J u = rhs where one step from the solution is differentiated, in place of
        the solution (`Semantics.ONE_STEP`).

        Raises `OptionError` where a step says little of the solution's derivative.
        """
        raise OptionError(
            f'differentiate="one_step" does not go with {self.name}, of which a single step says little: take '
            'differentiate="implicit", or another solver.'
        )
