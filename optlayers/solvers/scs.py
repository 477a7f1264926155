"""SCS: operator splitting on the homogeneous embedding (O'Donoghue, 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import scipy.sparse as sp
import scs

from optlayers.cones import AbstractCone, Nonnegative, Zero
from optlayers.errors import Status
from optlayers.program import ConeProgram, Point, SolverResult
from optlayers.solvers.abstract import AbstractSolver, copy_point

_STATUS = {
    scs.SOLVED: Status.SOLVED,
    scs.SOLVED_INACCURATE: Status.INACCURATE,
    scs.INFEASIBLE: Status.INFEASIBLE,
    scs.INFEASIBLE_INACCURATE: Status.INFEASIBLE,
    scs.UNBOUNDED: Status.UNBOUNDED,
    scs.UNBOUNDED_INACCURATE: Status.UNBOUNDED,
}


@final
@dataclass(frozen=True)
class SCS(AbstractSolver):
    """SCS, for all cones."""

    accuracy: float = 1e-5
    max_iterations: int = 20_000

    name: ClassVar[str] = "SCS"

    @classmethod
    def option_names(cls) -> frozenset[str]:
        return frozenset(
            "linear_solver normalize scale adaptive_scale rho_x alpha eps_abs eps_rel eps_infeas "
            "max_iters time_limit_secs acceleration_lookback acceleration_interval write_data_filename "
            "log_csv_filename".split()
        )

    @classmethod
    def refuses(cls, cone: AbstractCone) -> str | None:
        if isinstance(cone, Zero | Nonnegative):
            return None
        return f"the cone {type(cone).__name__} is not translated for it yet"

    def solve(self, program: ConeProgram, start: Point | None) -> SolverResult:
        m, n = program.structure.m, program.structure.n
        A, b = program.A, program.b
        cones = {
            "z": sum(cone.size for cone in program.structure.cones.factors if isinstance(cone, Zero)),
            "l": sum(cone.size for cone in program.structure.cones.factors if isinstance(cone, Nonnegative)),
        }
        if m == 0:
            # SCS wants a row: 0'x + s = 1, s >= 0 constrains nothing.
            A, b, cones = sp.csc_matrix((1, n)), np.ones(1), {"z": 0, "l": 1}
        settings = {
            "eps_abs": self.accuracy,
            "eps_rel": self.accuracy,
            "max_iters": self.max_iterations,
            "verbose": self.verbose,
            **self.options,
        }
        solver = scs.SCS({"P": program.P_upper, "A": A, "b": b, "c": program.q}, cones, **settings)
        warm = {"x": start.x, "y": start.y, "s": start.s} if start is not None and m > 0 else {}
        result = solver.solve(warm_start=start is not None, **warm)
        info = result["info"]
        status = _STATUS.get(info["status_val"], Status.NUMERICAL_ERROR)
        if status is Status.INACCURATE:
            status = Status.TIME_LIMIT if info["iter"] < settings["max_iters"] else Status.ITERATION_LIMIT
        point = copy_point(result["x"], result["y"][:m], result["s"][:m])
        return SolverResult(point, status, f"SCS: {info['status']}", int(info["iter"]))
