"""No solver: for programs without inequalities, whose optimality conditions are linear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from optlayers.cones import AbstractCone, Zero
from optlayers.errors import Status
from optlayers.program import ConeProgram, Point, SolverResult
from optlayers.solvers.abstract import AbstractSolver


@final
@dataclass(frozen=True)
class Direct(AbstractSolver):
    """Returns zero: [P A'; A 0] [x; y] = [-q; b] is the first Newton step of the refinement.

    It has no accuracy, iterations or options of its own.
    """

    accuracy: float = 1.0
    max_iterations: int = 1

    name: ClassVar[str] = "DIRECT"

    @classmethod
    def option_names(cls) -> frozenset[str]:
        return frozenset()

    @classmethod
    def refuses(cls, cone: AbstractCone) -> str | None:
        return None if isinstance(cone, Zero) else "it takes equality constraints only"

    def solve(self, program: ConeProgram, start: Point | None) -> SolverResult:
        n, m = program.structure.n, program.structure.m
        return SolverResult(Point(np.zeros(n), np.zeros(m), np.zeros(m)), Status.SOLVED, "direct solution", 0)
