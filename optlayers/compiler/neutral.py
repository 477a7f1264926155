"""The one canonical form that CVXPY is asked for, whatever solver will run.

CVXPY adapts its canonical form to the solver that it is told of: simple bounds, for one, leave the conic data for
solvers that take them separately. A solver of our own, described as taking cones and a quadratic objective and nothing
else, gets everything in (P, q, A, b). That nothing was left out is checked, not assumed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.constraints import SOC, ExpCone, NonNeg, PowCone3D, PowConeND, SvecPSD, Zero
from cvxpy.reductions.chain import Chain
from cvxpy.reductions.dcp2cone.cone_matrix_stuffing import ParamConeProg
from cvxpy.reductions.solution import Solution
from cvxpy.reductions.solvers import utilities
from cvxpy.reductions.solvers.conic_solvers.conic_solver import ConicSolver
from cvxpy.utilities.psd_utils import TriangleKind
from jaxtyping import Float

from optlayers.cones import AbstractCone, Exponential, Nonnegative, Power, Product, SecondOrder, Semidefinite
from optlayers.cones import Zero as ZeroCone
from optlayers.errors import UnsupportedError, VerificationError

KNOWN_FIELDS = frozenset(
    "q A P x lower_bounds upper_bounds lb_tensor ub_tensor reduced_A reduced_P constraints constr_size constr_map "
    "cone_dims parameters param_id_to_col id_to_param param_id_to_size total_param_size variables var_id_to_col "
    "id_to_var formatted dir_cones".split()
)
"""The fields of CVXPY's parametric cone program that this module accounts for."""


@final
class _Neutral(ConicSolver):  # type: ignore[misc]
    """A solver description for CVXPY: every cone with its rows in our order, a quadratic objective, no other bounds."""

    SUPPORTED_CONSTRAINTS = [  # noqa: RUF012 - the name and type are CVXPY's
        Zero,
        NonNeg,
        SOC,
        SvecPSD,
        ExpCone,
        PowCone3D,
        PowConeND,
    ]
    PSD_TRIANGLE_KIND = TriangleKind.UPPER
    PSD_SQRT2_SCALING = True
    BOUNDED_VARIABLES = False
    DIR_CONE_KINDS: frozenset[str] = frozenset()
    EXP_CONE_ORDER = (0, 1, 2)

    def name(self) -> str:
        # CVXPY's perspective compiles its function for the solver of this name, whatever the case of its letters:
        # Clarabel's, whose rows are ours. The exact name of a solver of its own CVXPY does not allow.
        return "clarabel"

    def import_solver(self) -> None:
        pass

    def cite(self, data: Any) -> str:
        return ""

    def supports_quad_obj(self) -> bool:
        return True

    def solve_via_data(self, *arguments: Any, **options: Any) -> Any:
        raise VerificationError("CVXPY called the solver description of optlayers, which does not solve.")

    def apply(self, problem: Any) -> tuple[Any, Any]:
        program, _, inverse = self._prepare_data_and_inv_data(problem)
        return program, inverse

    def invert(self, solution: tuple[Any, Any], inverse: Any) -> Any:
        """CVXPY's solution of a pair (x, y) of the cone program."""
        x, y = solution
        equalities = inverse[self.DIMS].zero
        duals = utilities.get_dual_values(y[:equalities], utilities.extract_dual_value, inverse[self.EQ_CONSTR])
        duals |= utilities.get_dual_values(y[equalities:], utilities.extract_dual_value, inverse[self.NEQ_CONSTR])
        return Solution(cp.OPTIMAL, 0.0, {inverse[self.VAR_ID]: x}, duals, {})


@final
@dataclass(frozen=True, eq=False)
class Canonical:
    """CVXPY's parametric cone program in the neutral form, and the chain of reductions that led to it.

    `P` ((n n) x (p + 1)), `q` ((n + 1) x (p + 1), the last row the constant term) and `A` ((m (n + 1)) x (p + 1), by
    columns, the last column b) are linear in CVXPY's parameter vector, which ends with the constant 1.
    """

    program: ParamConeProg
    chain: Chain
    inverse_data: list[Any]

    @property
    def n(self) -> int:
        """The number of variables."""
        return int(self.program.x.size)

    @property
    def m(self) -> int:
        """The number of rows."""
        return int(self.program.constr_size)

    @property
    def cones(self) -> Product:
        """The cones of the rows, in CVXPY's order."""
        dims = self.program.cone_dims
        factors: tuple[AbstractCone, ...] = (
            ZeroCone(int(dims.zero)),
            Nonnegative(int(dims.nonneg)),
            *(SecondOrder(int(dimension)) for dimension in dims.soc),
            *(Semidefinite(int(order)) for order in dims.psd),
            *(Exponential() for _ in range(int(dims.exp))),
            *(Power((float(exponent), 1 - float(exponent))) for exponent in dims.p3d),
            *(Power(_normalized(exponents)) for exponents in dims.pnd),
        )
        return Product(tuple(cone for cone in factors if cone.size > 0))

    def invert(self, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " m"]) -> Any:
        """CVXPY's own solution of the original problem from a point of the cone program."""
        return self.chain.invert((x, y), self.inverse_data)


def _normalized(exponents: Sequence[float]) -> tuple[float, ...]:
    """Exponents that sum to one to rounding; CVXPY lets them miss it by 1e-6."""
    total = math.fsum(exponents)
    return tuple(float(exponent) / total for exponent in exponents)


@contextmanager
def quiet_about_sparse_values() -> Iterator[None]:
    """Silence CVXPY's warnings that a sparse parameter is read densely: its own reductions and projections do so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*a sparse CVXPY expression via", category=RuntimeWarning)
        yield


def canonicalize(
    problem: cp.Problem, *, evaluate_parameters: bool = False, canon_backend: str | None = None
) -> Canonical:
    """The neutral form of the problem; with `evaluate_parameters`, of the problem at its parameters' values.

    Raises `UnsupportedError` for cones that are not compiled, `VerificationError` if CVXPY put part of the problem
    where this module does not look.
    """
    # A copy, so that the user's problem does not keep our canonical form in its cache.
    copy = cp.Problem(problem.objective, problem.constraints)
    try:
        with quiet_about_sparse_values():
            program, chain, inverse_data = copy.get_problem_data(
                solver=_Neutral(),
                enforce_dpp=not evaluate_parameters,
                ignore_dpp=evaluate_parameters,
                canon_backend=canon_backend,
            )
    except cp.SolverError:
        raise UnsupportedError(
            "CVXPY cannot bring the problem to linear, second-order, semidefinite, exponential and power cones. "
            "See cvxpy.Problem.get_problem_data for which part it is."
        ) from None
    except Exception as error:
        raise UnsupportedError(
            f"CVXPY {cp.__version__} does not compile the problem, but stops with {type(error).__name__}: {error}\n"
            "  next step: see in the traceback above which function or constraint it stops at, and rewrite that"
        ) from error
    canonical = Canonical(program, chain, inverse_data)
    _check_complete(canonical)
    return canonical


def _check_complete(canonical: Canonical) -> None:
    program = canonical.program
    unread = {name for name, value in vars(program).items() if name not in KNOWN_FIELDS and not _is_empty(value)}
    for name in ("lower_bounds", "upper_bounds", "lb_tensor", "ub_tensor", "dir_cones"):
        if not _is_empty(getattr(program, name, None)):
            unread.add(name)
    if canonical.cones.size != program.constr_size:
        unread.add("cone_dims")
    if unread:
        raise VerificationError(
            f"CVXPY {cp.__version__} put part of the problem where optlayers does not look: "
            f"{', '.join(sorted(unread))}. Please report this with the CVXPY version; until then, use a version of "
            "CVXPY that optlayers was tested with."
        )


def _is_empty(value: Any) -> bool:
    if value is None:
        return True
    if sp.issparse(value) or isinstance(value, np.ndarray):
        return bool(value.size == 0)
    return isinstance(value, list | tuple | dict | frozenset | set) and len(value) == 0
