"""Linear solvers of lineax as backward solvers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import jax
import jax.numpy as jnp
import lineax

from optlayers.implicit import AbstractLinearSolver, LinearInfo, LinearOperator, LinearSolution
from optlayers.implicit.checks import check_kind
from optlayers.implicit.report import ITERATION_LIMIT, SOLVED
from optlayers.implicit.stopping import length


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Lineax(AbstractLinearSolver):
    """A solver of lineax, such as `lineax.GMRES(rtol=1e-9, atol=1e-9)`; it stops by its own rule.

    It sees the systems of a batch as one. `lineax.CG` and `lineax.Cholesky` are told that theirs are positive definite,
    as those of argmin are at a minimum. Its solution is judged by `tolerance` and `stop` here, element by element;
    there can be no preconditioner, and max_iterations is not used.

    Source: Rader, Lyons and Kidger (2023), Lineax.
    """

    solver: lineax.AbstractLinearSolver

    name: ClassVar[str] = "lineax"
    preconditioned: ClassVar[bool] = False

    def __post_init__(self) -> None:
        AbstractLinearSolver.__post_init__(self)
        expected = "a solver of lineax, as an object such as lineax.GMRES(rtol=1e-9, atol=1e-9),"
        check_kind("Lineax", "solver", self.solver, lineax.AbstractLinearSolver, expected)

    def solve(self, operator: LinearOperator, rhs: jax.Array) -> LinearSolution:
        multiply = operator.multiply()
        structure = jax.ShapeDtypeStruct(rhs.shape, rhs.dtype)
        tags = lineax.positive_semidefinite_tag if isinstance(self.solver, lineax.CG | lineax.Cholesky) else ()
        system = lineax.FunctionLinearOperator(multiply, structure, tags)
        found = lineax.linear_solve(system, rhs, self.solver, throw=False)
        residual = length(jnp, multiply(found.value) - rhs)
        bound = self.bound(jnp, length(jnp, rhs), length(jnp, found.value))
        status = jnp.where(residual <= bound, SOLVED, ITERATION_LIMIT).astype(jnp.int32)
        steps = jnp.asarray(found.stats.get("num_steps", 0), dtype=jnp.int32)
        info = LinearInfo(status, residual, jnp.broadcast_to(steps, residual.shape), jnp.full_like(residual, jnp.nan))
        return LinearSolution(found.value, info)
