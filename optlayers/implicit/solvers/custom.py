"""The user's own solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

from optlayers.errors import ArgumentError
from optlayers.implicit.checks import check_function
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.report import UNSOLVED
from optlayers.implicit.solvers.abstract import AbstractIteration, Memory, Step


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Custom(AbstractIteration):
    """z = function(F, z0), for a function that finds z (*B, n) with F(z) = 0 from z0 (*B, n).

    It is called once, unless z0 is a solution, and may do what it likes: F is the residual at the given parameters, and
    the arrays are the framework's, without derivatives. What it returns is judged: an element whose residual is above
    the tolerance ends as UNSOLVED.

    Its operations are not differentiated; where they were not the framework's own, their derivatives would silently be
    missing. The implicit rule needs none of them.
    """

    function: Callable[[Callable[[Array], Array], Array], Array]

    name: ClassVar[str] = "the given function"
    differentiable_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_function("Custom", "function", self.function, ("F", "z0"))

    def start(self, problem: Problem, z: Array, residual: Array) -> Memory:
        return (residual[..., 0] != residual[..., 0],)

    def step(self, problem: Problem, z: Array, residual: Array, memory: Memory, moving: Array) -> Step:
        found = self.function(problem.residual, z)
        shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
        if shape != z.shape or dtype != z.dtype:
            raise ArgumentError(
                f"the function given as solver must return z like z0, an array of shape {tuple(z.shape)} and type "
                f"{z.dtype}, not {type(found).__name__} of shape {shape} and type {dtype}."
            )
        return Step(found, (memory[0] | True,))

    def verdict(self, problem: Problem, residual: Array, memory: Memory, status: Array) -> Array:
        return problem.xp.where(memory[0], UNSOLVED, status)
