"""Clarabel: a homogeneous interior-point method (Goulart and Chen, 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import clarabel

from optlayers.cones import AbstractCone, Nonnegative, Zero
from optlayers.errors import Status
from optlayers.program import ConeProgram, Point, SolverResult
from optlayers.solvers.abstract import AbstractSolver, copy_point

_STATUS = {
    "Solved": Status.SOLVED,
    "AlmostSolved": Status.INACCURATE,
    "PrimalInfeasible": Status.INFEASIBLE,
    "AlmostPrimalInfeasible": Status.INFEASIBLE,
    "DualInfeasible": Status.UNBOUNDED,
    "AlmostDualInfeasible": Status.UNBOUNDED,
    "MaxIterations": Status.ITERATION_LIMIT,
    "MaxTime": Status.TIME_LIMIT,
}


@final
@dataclass(frozen=True)
class Clarabel(AbstractSolver):
    """Clarabel, for all cones. It does not use a starting point."""

    accuracy: float = 1e-8
    max_iterations: int = 200

    name: ClassVar[str] = "CLARABEL"

    @classmethod
    def option_names(cls) -> frozenset[str]:
        settings = clarabel.DefaultSettings()
        return frozenset(name for name in dir(settings) if not name.startswith("_") and name != "default")

    @classmethod
    def refuses(cls, cone: AbstractCone) -> str | None:
        if isinstance(cone, Zero | Nonnegative):
            return None
        return f"the cone {type(cone).__name__} is not translated for it yet"

    def solve(self, program: ConeProgram, start: Point | None) -> SolverResult:
        settings = clarabel.DefaultSettings()
        settings.verbose = self.verbose
        settings.max_iter = self.max_iterations
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = self.accuracy
        # Elements of a batch are solved side by side; presolve drops rows, whose dual variables are wanted.
        settings.max_threads = 1
        settings.presolve_enable = False
        for option, value in self.options.items():
            setattr(settings, option, value)
        cones = [_translate(cone) for cone in program.structure.cones.factors if cone.size > 0]
        solver = clarabel.DefaultSolver(program.P_upper, program.q, program.A, program.b, cones, settings)
        result = solver.solve()
        word = str(result.status)
        status = _STATUS.get(word, Status.NUMERICAL_ERROR)
        return SolverResult(
            copy_point(result.x, result.z, result.s), status, f"Clarabel: {word}", int(result.iterations)
        )


def _translate(cone: AbstractCone) -> object:
    if isinstance(cone, Zero):
        return clarabel.ZeroConeT(cone.count)
    return clarabel.NonnegativeConeT(cone.size)
