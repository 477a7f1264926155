"""What every solver of linear systems provides."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

from optlayers.implicit.framework import Array, Function
from optlayers.implicit.linear.preconditioner import AbstractPreconditioner
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import LinearInfo
from optlayers.implicit.stopping import Stop, check_limits, stop_of


@final
class LinearSolution(NamedTuple):
    """u (*B, n) with A u = rhs, and how it was found."""

    u: Array
    info: LinearInfo


@dataclass(frozen=True, kw_only=True)
class AbstractLinearSolver(abc.ABC):
    """A method for A u = rhs, with its settings.

    tolerance, stop: where it stops: |A u - rhs| <= tolerance |rhs|, unless `stop` says otherwise. No residual below
        ROUNDING eps |rhs| is asked for, eps that of the dtype: in single precision it is about 2e-6 |rhs|.
    max_iterations: most products with A, or steps, as the method counts them.
    preconditioner: an approximate inverse of A, applied on the right, so that residuals are those of the system itself.
    """

    tolerance: float = 1e-10
    max_iterations: int = 1000
    stop: Stop | str = Stop.REDUCTION
    preconditioner: AbstractPreconditioner | None = None

    name: ClassVar[str]

    symmetric_only: ClassVar[bool] = False
    """Whether it solves symmetric systems only."""

    def __post_init__(self) -> None:
        check_limits(type(self).__name__, self.tolerance, self.max_iterations)
        stop_of(self.stop)

    @abc.abstractmethod
    def solve(self, operator: LinearOperator, rhs: Array) -> LinearSolution:
        """u with A u = rhs, for every vector of rhs (*E, *B, n)."""

    def unchecked(self) -> AbstractLinearSolver:
        """The method for one who judges the solution himself, without what only serves to report on it."""
        return self

    def bound(self, xp: Any, first: Array, size: Array) -> Array:
        """The norm of the residual at which a system is solved, given |rhs| and |u|."""
        rule = stop_of(self.stop).bound(self.tolerance, first, size)
        return xp.maximum(rule, ROUNDING * xp.finfo(first.dtype).eps * first)

    def approximate_inverse(self, operator: LinearOperator, transpose: bool = False) -> Function:
        """r -> M^-1 r for the preconditioner M of A, or M^-T r if `transpose`; r itself without one."""
        preconditioner, flipped = self.preconditioner, operator.transposed != transpose
        if preconditioner is None:
            return lambda r: r
        return lambda r: preconditioner.apply(operator.xp, r, flipped)


ROUNDING = 16.0
"""How many units of rounding of rhs itself a residual may keep at least."""
