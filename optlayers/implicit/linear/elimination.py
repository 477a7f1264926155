"""Gaussian elimination, without a check of its result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from optlayers.implicit.framework import Array
from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.elementwise import counter
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import SINGULAR, SOLVED, LinearInfo


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Elimination(AbstractLinearSolver):
    """A is formed, by n products, and factored, as by `LU`; but the solution is neither refined nor measured: the
    status is SOLVED where it is finite, and SINGULAR elsewhere.
    """

    name: ClassVar[str] = "elimination"
    preconditioned: ClassVar[bool] = False

    def solve(self, operator: LinearOperator, rhs: Array) -> LinearSolution:
        xp, like = operator.xp, operator.like
        columns = xp.moveaxis(rhs.reshape(math.prod(rhs.shape[: len(rhs.shape) - len(like.shape)]), *like.shape), 0, -1)
        u = operator.framework.factor(operator.matrix())(columns, False)
        u = xp.moveaxis(u, -1, 0).reshape(rhs.shape)
        unknown = xp.full_like(u[..., 0], float("nan"))
        finite = xp.all(xp.isfinite(u), axis=-1)
        status = xp.where(finite, counter(xp, unknown, SOLVED), counter(xp, unknown, SINGULAR))
        return LinearSolution(u, LinearInfo(status, unknown, counter(xp, unknown, rhs.shape[-1]), unknown))
