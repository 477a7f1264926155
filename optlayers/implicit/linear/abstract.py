"""What every solver of linear systems provides."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, final

from optlayers.errors import OptionError
from optlayers.implicit.checks import check_count, check_kind, check_positive, with_plain_numbers
from optlayers.implicit.framework import Array, Function
from optlayers.implicit.linear.preconditioner import AbstractPreconditioner
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import LinearInfo
from optlayers.implicit.shown import chosen
from optlayers.implicit.stopping import Stop, stop_of


@final
class LinearSolution(NamedTuple):
    """u (*B, n) with A u = rhs, and how it was found.

    inverse: (r, transpose) -> A^-1 r, or A^-T r, for methods that have it at hand.
    """

    u: Array
    info: LinearInfo
    inverse: Callable[[Array, bool], Array] | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
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

    preconditioned: ClassVar[bool] = True
    """Whether it uses a preconditioner."""

    def __post_init__(self) -> None:
        with_plain_numbers(self)
        name = type(self).__name__
        check_positive(name, "tolerance", self.tolerance)
        check_count(name, "max_iterations", self.max_iterations)
        stop_of(self.stop)
        if self.preconditioner is not None:
            expected = "None, Preconditioner(function), or the result of root.neighbour(F, z, theta)"
            check_kind(name, "preconditioner", self.preconditioner, AbstractPreconditioner, expected)
            if not self.preconditioned:
                raise OptionError(
                    f"{name}(preconditioner=): {name} uses no preconditioner; leave it out, or take a Krylov method, "
                    "such as GMRES(preconditioner=...)."
                )

    def __repr__(self) -> str:
        return chosen(self)

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

    def mapped(self, function: Function) -> AbstractLinearSolver:
        """The same, with what the function makes of each of its arrays in their place."""
        if self.preconditioner is None:
            return self
        return replace(self, preconditioner=self.preconditioner.mapped(function))

    def ends(self, bound: str) -> str:
        """In words, where it stops, given the bound of the residual."""
        return f"solved where {bound}"

    def approximate_inverse(self, operator: LinearOperator, transpose: bool = False) -> Function:
        """r -> M^-1 r for the preconditioner M of A, or M^-T r if `transpose`; r itself without one."""
        preconditioner, flipped = self.preconditioner, operator.transposed != transpose
        if preconditioner is None:
            return lambda r: r
        return lambda r: preconditioner.apply(operator.xp, r, flipped)


ROUNDING = 16.0
"""How many units of rounding of rhs itself a residual may keep at least."""
