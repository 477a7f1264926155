"""What every forward solver provides."""

from __future__ import annotations

import abc
import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import ClassVar

import numpy as np

from optlayers.cones import AbstractCone, Product
from optlayers.errors import OptionError, Status
from optlayers.program import ConeProgram, Point, SolverResult
from optlayers.solvers.options import Options


@dataclass(frozen=True)
class AbstractSolver(abc.ABC):
    """A solver of cone programs with its settings, a value.

    accuracy: the solver's own stopping tolerance, absolute and relative. What a layer returns is refined to a relative
        KKT residual of 1e-9 or better whatever the accuracy, so that a coarse solve is often the fastest way.
    max_iterations: most iterations of one solve.
    verbose: whether the solver prints its log.
    options: further options by the solver's own names; they win over the fields above.
    """

    accuracy: float
    max_iterations: int
    verbose: bool = False
    options: Mapping[str, object] = field(default_factory=Options)

    name: ClassVar[str]

    file_options: ClassVar[frozenset[str]] = frozenset()
    """Options that name files which the solver writes: a saved layer may not hold them."""

    def __post_init__(self) -> None:
        if not (isinstance(self.accuracy, Real) and np.isfinite(self.accuracy) and self.accuracy > 0):
            raise OptionError(f"{self.name}: accuracy must be a positive number, not {self.accuracy!r}.")
        if not (isinstance(self.max_iterations, Integral) and self.max_iterations >= 1):
            raise OptionError(
                f"{self.name}: max_iterations must be a whole number of at least 1, not {self.max_iterations!r}."
            )
        object.__setattr__(self, "options", Options(self.options))
        known = self.option_names()
        for option in self.options:
            if option not in known:
                near = difflib.get_close_matches(option, sorted(known), n=3)
                hint = f"Did you mean {' or '.join(near)}?" if near else f"It has {', '.join(sorted(known))}."
                raise OptionError(f"{self.name} has no option '{option}'. {hint}")

    @classmethod
    @abc.abstractmethod
    def option_names(cls) -> frozenset[str]:
        """The names that `options` may hold."""

    @classmethod
    @abc.abstractmethod
    def refuses(cls, cone: AbstractCone) -> str | None:
        """Why the solver cannot take the cone, or None if it can."""

    def require(self, cones: Product) -> None:
        """Raise `OptionError` if the solver cannot take one of the cones."""
        for run in cones.runs:
            reason = self.refuses(run.cone)
            if reason is not None:
                raise OptionError(f"{self.name} cannot solve this problem: {reason}.")

    @abc.abstractmethod
    def solve(self, program: ConeProgram, start: Point | None) -> SolverResult:
        """Solve the program, from `start` if the solver can use it. Safe to call from several threads at once.

        Raises `OptionError` if the solver cannot take one of the program's cones.
        """

    def with_options(self, options: Mapping[str, object]) -> AbstractSolver:
        """The same solver with further options by its own names."""
        return dataclasses.replace(self, options={**self.options, **options})

    def with_accuracy(self, accuracy: float) -> AbstractSolver:
        """The same solver at another accuracy."""
        return dataclasses.replace(self, accuracy=accuracy)


def broken_down(program: ConeProgram, detail: str) -> SolverResult:
    """What a solver returns that broke down without a point: zeros, from which refinement may still arrive."""
    x, rows = np.zeros(program.structure.n), np.zeros(program.structure.m)
    return SolverResult(Point(x, rows, rows.copy()), Status.NUMERICAL_ERROR, detail, 0)


def copy_point(x: object, y: object, s: object) -> Point:
    """The point of a solver's arrays, copied, since some solvers reuse their memory."""
    return Point(np.array(x, dtype=np.float64), np.array(y, dtype=np.float64), np.array(s, dtype=np.float64))
