"""Clarabel: a homogeneous interior-point method (Goulart and Chen, 2024)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, final

from optlayers.cones import AbstractCone, Exponential, Nonnegative, Power, SecondOrder, Semidefinite, Zero
from optlayers.errors import Status
from optlayers.packages import needed
from optlayers.program import ConeProgram, Point, SolverResult
from optlayers.solvers.abstract import AbstractSolver, broken_down, copy_point
from optlayers.solvers.plain_cone import plain

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
        settings = _package().DefaultSettings()
        return frozenset(name for name in dir(settings) if not name.startswith("_") and name != "default")

    @classmethod
    def refuses(cls, cone: AbstractCone) -> str | None:
        if type(plain(cone)) in _TRANSLATIONS:
            return None
        return f"it has no cone {cone}; of the dual cones SCS has the exponential and the power cone's"

    def solve(self, program: ConeProgram, start: Point | None) -> SolverResult:
        self.require(program.structure.cones)
        clarabel = _package()
        settings = clarabel.DefaultSettings()
        settings.verbose = self.verbose
        settings.max_iter = self.max_iterations
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = self.accuracy
        # Elements of a batch are solved side by side; presolve and decomposition drop or change rows, whose dual
        # variables are wanted.
        settings.max_threads = 1
        settings.presolve_enable = False
        settings.chordal_decomposition_enable = False
        for option, value in self.options.items():
            setattr(settings, option, value)
        cones = [cone for run in program.structure.cones.runs for cone in [_translate(clarabel, run.cone)] * run.count]
        try:
            solver = clarabel.DefaultSolver(program.P_upper, program.q, program.A, program.b, cones, settings)
            result = solver.solve()
        except BaseException as error:
            # A panic of its code, in a class that is no Exception and that no module exports.
            if type(error).__name__ != "PanicException":
                raise
            return broken_down(program, f"Clarabel: panic, {error}")
        word = str(result.status)
        status = _STATUS.get(word, Status.NUMERICAL_ERROR)
        return SolverResult(
            copy_point(result.x, result.z, result.s), status, f"Clarabel: {word}", int(result.iterations)
        )


def _translate(clarabel: Any, cone: AbstractCone) -> object:
    """Clarabel's cone; its rows are in the order of ours."""
    cone = plain(cone)
    return _TRANSLATIONS[type(cone)](clarabel, cone)


def _power(clarabel: Any, cone: Power) -> object:
    """Clarabel has a cone of its own for two exponents. It panics at more of them whose sum is not 1 to rounding."""
    total = math.fsum(cone.exponents)
    exponents = [exponent / total for exponent in cone.exponents]
    return clarabel.PowerConeT(exponents[0]) if len(exponents) == 2 else clarabel.GenPowerConeT(exponents, 1)


_TRANSLATIONS: dict[type[AbstractCone], Callable[[Any, Any], object]] = {
    Zero: lambda clarabel, cone: clarabel.ZeroConeT(cone.count),
    Nonnegative: lambda clarabel, cone: clarabel.NonnegativeConeT(cone.count),
    SecondOrder: lambda clarabel, cone: clarabel.SecondOrderConeT(cone.dimension),
    Semidefinite: lambda clarabel, cone: clarabel.PSDTriangleConeT(cone.order),
    Exponential: lambda clarabel, cone: clarabel.ExponentialConeT(),
    Power: _power,
}


def _package() -> Any:
    with needed("clarabel", "the solver CLARABEL"):
        import clarabel
    return clarabel
