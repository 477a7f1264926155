"""SCS: operator splitting on the homogeneous embedding (O'Donoghue, 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import scipy.sparse as sp

from optlayers.cones import AbstractCone
from optlayers.errors import Status
from optlayers.packages import needed
from optlayers.program import ConeProgram, Point, SolverResult
from optlayers.solvers.abstract import AbstractSolver, broken_down, copy_point
from optlayers.solvers.scs_form import is_taken, scs_form

_STATUS = {
    "SOLVED": Status.SOLVED,
    "SOLVED_INACCURATE": Status.INACCURATE,
    "INFEASIBLE": Status.INFEASIBLE,
    "INFEASIBLE_INACCURATE": Status.INFEASIBLE,
    "UNBOUNDED": Status.UNBOUNDED,
    "UNBOUNDED_INACCURATE": Status.UNBOUNDED,
}


@final
@dataclass(frozen=True)
class SCS(AbstractSolver):
    """SCS, for all cones."""

    accuracy: float = 1e-5
    max_iterations: int = 20_000

    name: ClassVar[str] = "SCS"
    file_options: ClassVar[frozenset[str]] = frozenset({"write_data_filename", "log_csv_filename"})

    @classmethod
    def option_names(cls) -> frozenset[str]:
        return frozenset(
            "linear_solver normalize scale adaptive_scale rho_x alpha eps_abs eps_rel eps_infeas "
            "max_iters time_limit_secs acceleration_lookback acceleration_interval write_data_filename "
            "log_csv_filename".split()
        )

    @classmethod
    def refuses(cls, cone: AbstractCone) -> str | None:
        return None if is_taken(cone) else f"it has no cone {cone}"

    def solve(self, program: ConeProgram, start: Point | None) -> SolverResult:
        self.require(program.structure.cones)
        scs = _package()
        form = scs_form(program.structure.cones)
        data, cones = form.data(program), form.cones
        rowless = program.structure.m == 0
        if rowless:
            # SCS wants a row: 0'x + s = 1, s >= 0 constrains nothing.
            data |= {"A": sp.csc_matrix((1, program.structure.n)), "b": np.ones(1)}
            cones, start = {"l": 1}, None
        settings = {
            "eps_abs": self.accuracy,
            "eps_rel": self.accuracy,
            "max_iters": self.max_iterations,
            "verbose": self.verbose,
            **self.options,
        }
        try:
            solver = scs.SCS(data, cones, **settings)
        except ValueError as error:
            # Said of data that it cannot factor, and of settings out of range.
            if "ScsWork allocation error" not in str(error):
                raise
            return broken_down(program, f"SCS: {error}")
        warm = None if start is None else form.start(start)
        result = solver.solve(warm_start=warm is not None, **(warm or {}))
        info = result["info"]
        statuses = {getattr(scs, name): status for name, status in _STATUS.items()}
        status = statuses.get(info["status_val"], Status.NUMERICAL_ERROR)
        if status is Status.INACCURATE:
            status = Status.TIME_LIMIT if info["iter"] < settings["max_iters"] else Status.ITERATION_LIMIT
        if rowless:
            point = copy_point(result["x"], np.zeros(0), np.zeros(0))
        else:
            point = form.point(*(result[part] for part in "xys"))
        return SolverResult(point, status, f"SCS: {info['status']}", int(info["iter"]))


def _package() -> Any:
    with needed("scs", "the solver SCS"):
        import scs
    return scs
