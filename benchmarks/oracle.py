"""Solutions to rounding, from CVXPY and SciPy alone: nothing here is optlayers'.

CVXPY compiles the problem for Clarabel to: minimise 1/2 x'Px + q'x subject to Ax + s = b, s in {0}^z x R_+^l, and
Clarabel finds its active rows. On these rows, W, the solution is that of the linear system

    [ P  A_W' ] [x  ]   [ -q  ]
    [ A_W  0  ] [y_W] = [ b_W ],        y = 0 and s > 0 on the other rows,

solved by SuperLU with iterative refinement from Clarabel's point. CVXPY then recovers variables and dual variables.
A solution is accepted only if y_W > 0 (on inequalities) and s > 0 hold with a margin, so that it is the solution, and
strictly complementary.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, final

import cvxpy as cp
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from benchmarks.contestant import Values
from tests.problems import Instance, assign

CLARABEL_ACCURACY = 1e-10
"""It only has to tell y from s; below this Clarabel often stops short."""

REGULARIZATION = 1e-8
"""On the diagonal of the factorization; refinement removes its effect. A singular system (redundant equalities, free
auxiliary variables of CVXPY's) is consistent, and its solution moves along the range only."""

REFINEMENTS = 50
"""Most steps of refinement."""

RESIDUAL_TOLERANCE = 1e-12
"""Largest residual of the linear system, relative to its largest right-hand side entry or term, that is accepted."""

MARGIN = 1e-9
"""Smallest y_W and s that are accepted, relative to the largest entry of y and of s."""


class UncertifiedError(Exception):
    """No strictly complementary solution was found; the text says what failed."""


@final
@dataclass(frozen=True, eq=False)
class Certified:
    """A solution: x, y, the mask of active rows, and the values of the instance's outputs."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    active: npt.NDArray[np.bool_]
    outputs: Values


@final
@dataclass(frozen=True, eq=False)
class Oracle:
    """Solves an instance whose problem is DPP."""

    instance: Instance

    def solve(self, values: Values) -> Certified:
        """The solution at parameter values without a batch axis; raises `UncertifiedError`."""
        data, chain, inverse = self._compile(values)
        accuracies = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), CLARABEL_ACCURACY)
        found = chain.solve_via_data(
            self.instance.problem, data, warm_start=False, verbose=False, solver_opts=accuracies
        )
        x, y, s = (np.array(part) for part in (found.x, found.z, found.s))
        active = y > s
        active[: data["dims"].zero] = True
        return self._finish(data, chain, inverse, (x, np.where(active, y, 0.0)), active)

    def follow(self, values: Values, base: Certified) -> Certified:
        """The solution at other values if its active rows are those of `base`; raises `UncertifiedError` if not."""
        return self._finish(*self._compile(values), (base.x, base.y), base.active)

    def _compile(self, values: Values) -> tuple[dict[str, Any], Any, Any]:
        assign(self.instance, values)
        data, chain, inverse = self.instance.problem.get_problem_data(cp.CLARABEL, solver_opts={})
        return data, chain, inverse

    def _finish(
        self, data: dict[str, Any], chain: Any, inverse: Any, start: tuple[np.ndarray, np.ndarray], active: np.ndarray
    ) -> Certified:
        x, y = _solve_active(data, *start, active)
        s = data["b"] - data["A"] @ x
        equalities = data["dims"].zero
        smallest_y = y[equalities:][active[equalities:]].min(initial=np.inf) / max(np.abs(y).max(initial=0.0), 1e-300)
        smallest_s = s[~active].min(initial=np.inf) / max(np.abs(s).max(initial=0.0), 1e-300)
        if min(smallest_y, smallest_s) < MARGIN:
            raise UncertifiedError(f"margins y {smallest_y:.0e}, s {smallest_s:.0e} of strict complementarity")
        solution = SimpleNamespace(
            x=x, z=y, s=np.where(active, 0.0, s), status="Solved", obj_val=0.0, iterations=0, solve_time=0.0
        )
        self.instance.problem.unpack_results(solution, chain, inverse)
        outputs = tuple(
            np.array(output.value if isinstance(output, cp.Variable) else output.dual_value, dtype=np.float64)
            for output in self.instance.outputs
        )
        return Certified(x, y, active, outputs)


def _solve_active(
    data: dict[str, Any], x: np.ndarray, y: np.ndarray, active: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    n, rows = len(x), sp.csr_array(data["A"])[active]
    P = sp.csc_array(data["P"]) if "P" in data else sp.csc_array((n, n))
    K = sp.block_array([[P, rows.T], [rows, None]], format="csc")
    right = np.concatenate([-data["c"], data["b"][active]])
    shift = np.concatenate([np.full(n, REGULARIZATION), np.full(rows.shape[0], -REGULARIZATION)])
    factors = spla.splu(sp.csc_matrix(K + sp.diags_array(shift)))
    z = np.concatenate([x, y[active]])
    residual = right - K @ z
    for _ in range(REFINEMENTS):
        candidate = z + factors.solve(residual)
        candidate_residual = right - K @ candidate
        if not np.abs(candidate_residual).max() < np.abs(residual).max():
            break
        z, residual = candidate, candidate_residual
    scale = max(np.abs(right).max(), float((abs(K) @ np.abs(z)).max()))
    if np.abs(residual).max() > RESIDUAL_TOLERANCE * scale:
        raise UncertifiedError(f"residual {np.abs(residual).max() / scale:.0e} on the active rows")
    full_y = np.zeros(len(active))
    full_y[active] = z[n:]
    return z[:n], full_y
