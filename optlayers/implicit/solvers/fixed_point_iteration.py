"""The damped fixed-point iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from optlayers.implicit.checks import check_positive
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.linear.abstract import AbstractLinearSolver
from optlayers.implicit.linear.one_step import OneStep
from optlayers.implicit.solvers.abstract import AbstractIteration, Memory, Step


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class FixedPointIteration(AbstractIteration):
    """z <- z - damping F(z); for F = z - g(z), z <- (1 - damping) z + damping g(z).

    Converges linearly where the spectral radius of I - damping J_z is below one.
    """

    patience: int | None = 200
    damping: float = 1.0

    name: ClassVar[str] = "fixed-point iteration"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("FixedPointIteration", "damping", self.damping)

    def start(self, problem: Problem, z: Array, residual: Array) -> Memory:
        return ()

    def step(self, problem: Problem, z: Array, residual: Array, memory: Memory, moving: Array) -> Step:
        return Step(z - self.damping * residual, ())

    def linear_step(self) -> AbstractLinearSolver:
        return OneStep(scale=self.damping)
