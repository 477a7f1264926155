"""OSQP: operator splitting for quadratic programs (Stellato et al., 2020)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from optlayers.cones import AbstractCone, Nonnegative, Zero
from optlayers.errors import Status
from optlayers.packages import needed
from optlayers.program import ConeProgram, Point, SolverResult
from optlayers.solvers.abstract import AbstractSolver, copy_point
from optlayers.solvers.plain_cone import plain

_STATUS = {
    "OSQP_SOLVED": Status.SOLVED,
    "OSQP_SOLVED_INACCURATE": Status.INACCURATE,
    "OSQP_PRIMAL_INFEASIBLE": Status.INFEASIBLE,
    "OSQP_PRIMAL_INFEASIBLE_INACCURATE": Status.INFEASIBLE,
    "OSQP_DUAL_INFEASIBLE": Status.UNBOUNDED,
    "OSQP_DUAL_INFEASIBLE_INACCURATE": Status.UNBOUNDED,
    "OSQP_MAX_ITER_REACHED": Status.ITERATION_LIMIT,
    "OSQP_TIME_LIMIT_REACHED": Status.TIME_LIMIT,
    "OSQP_NON_CVX": Status.NONCONVEX,
}


@final
@dataclass(frozen=True)
class OSQP(AbstractSolver):
    """OSQP, for linear and quadratic objectives with linear constraints.

    It takes l <= Ax <= u with u = b, and l = b on the zero rows, -infinity on the others.
    `certificate_accuracy` is its tolerance for claims of infeasibility and unboundedness (eps_prim_inf, eps_dual_inf):
    tighter than OSQP's default of 1e-4, at which it makes false claims on badly scaled programs.
    """

    accuracy: float = 1e-5
    max_iterations: int = 10_000
    certificate_accuracy: float = 1e-8

    name: ClassVar[str] = "OSQP"

    @classmethod
    def option_names(cls) -> frozenset[str]:
        return frozenset(
            "rho sigma alpha scaling adaptive_rho adaptive_rho_interval adaptive_rho_fraction adaptive_rho_tolerance "
            "eps_abs eps_rel eps_prim_inf eps_dual_inf max_iter time_limit check_termination check_dualgap "
            "scaled_termination polishing polish_refine_iter delta rho_is_vec warm_starting".split()
        )

    def with_accuracy(self, accuracy: float) -> AbstractSolver:
        return dataclasses.replace(
            self, accuracy=accuracy, certificate_accuracy=min(accuracy, self.certificate_accuracy)
        )

    @classmethod
    def refuses(cls, cone: AbstractCone) -> str | None:
        if isinstance(plain(cone), Zero | Nonnegative):
            return None
        return f"it takes linear constraints only, not the cone {cone}; CLARABEL and SCS take cones"

    def solve(self, program: ConeProgram, start: Point | None) -> SolverResult:
        self.require(program.structure.cones)
        equality = np.zeros(program.structure.m, dtype=np.bool_)
        for run in program.structure.cones.runs:
            equality[run.start : run.stop] = isinstance(plain(run.cone), Zero)
        osqp = _package()
        solver = osqp.OSQP()
        settings = {
            "eps_abs": self.accuracy,
            "eps_rel": self.accuracy,
            "eps_prim_inf": self.certificate_accuracy,
            "eps_dual_inf": self.certificate_accuracy,
            "max_iter": self.max_iterations,
            "verbose": self.verbose,
            **self.options,
        }
        lower = np.where(equality, program.b, -np.inf)
        solver.setup(program.P_upper, program.q, program.A, lower, program.b, **settings)
        if start is not None:
            solver.warm_start(x=start.x, y=start.y)
        result = solver.solve(raise_error=False)
        statuses = {getattr(osqp.SolverStatus, name): status for name, status in _STATUS.items()}
        status = statuses.get(result.info.status_val, Status.NUMERICAL_ERROR)
        x = result.dual_inf_cert if status is Status.UNBOUNDED else result.x
        y = result.prim_inf_cert if status is Status.INFEASIBLE else result.y
        point = copy_point(x, y, np.zeros(program.structure.m))
        point = Point(point.x, point.y, np.where(equality, 0.0, np.maximum(program.b - program.A @ point.x, 0.0)))
        return SolverResult(point, status, f"OSQP: {result.info.status}", int(result.info.iter))


def _package() -> Any:
    with needed("osqp", "the solver OSQP"):
        import osqp
    return osqp
