"""Bounds as rows that CVXPY hands over with all others.

CVXPY 1.9 takes x >= 0 (rows of the identity, coefficient 1) out of the problem data for solvers that bound variables
directly, Moreau among them, and passes it as `dir_cones`, which cvxpylayers 1.2.0 does not read. 2 x >= 0 stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cvxpy as cp
from cvxpy.constraints.nonpos import Inequality

from benchmarks.contestant import Output
from benchmarks.rewriting import rewrite

FACTOR = 2.0


def with_explicit_bounds(problem: cp.Problem, outputs: Sequence[Output]) -> tuple[cp.Problem, tuple[Output, ...]]:
    """The problem with bounds on variables written as rows of coefficient `FACTOR`, and the outputs in it.

    Inequalities among the outputs stay, since a factor would change their dual variables.
    """
    free: dict[int, cp.Variable] = {}
    bounds: list[cp.Constraint] = []
    for variable in problem.variables():
        lower, upper = variable.attributes["bounds"] or (None, None)
        if variable.attributes["nonneg"]:
            lower = 0.0
        if lower is None and upper is None:
            continue
        kept = {
            name: value for name, value in variable.attributes.items() if value and name not in ("nonneg", "bounds")
        }
        free[id(variable)] = x = cp.Variable(variable.shape, **kept)
        if lower is not None:
            bounds.append(FACTOR * (x - lower) >= 0)
        if upper is not None:
            bounds.append(FACTOR * (upper - x) >= 0)

    def rule(expression: cp.Expression, _: Callable[[cp.Expression], cp.Expression]) -> cp.Expression | None:
        return free.get(id(expression))

    def change(constraint: cp.Constraint) -> cp.Constraint:
        if isinstance(constraint, Inequality):
            return FACTOR * constraint.args[0] <= FACTOR * constraint.args[1]
        return constraint

    moved, moved_outputs = rewrite(problem, outputs, rule, change)
    return cp.Problem(moved.objective, moved.constraints + bounds), moved_outputs
