"""Writing the same problem in another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import cvxpy as cp

from benchmarks.contestant import Output

Rule: TypeAlias = Callable[[cp.Expression, Callable[[cp.Expression], cp.Expression]], cp.Expression | None]
"""(expression, rewrite) -> what replaces it, or None to rewrite its arguments."""


def rewrite(
    problem: cp.Problem,
    outputs: Sequence[Output],
    rule: Rule,
    change: Callable[[cp.Constraint], cp.Constraint] = lambda constraint: constraint,
) -> tuple[cp.Problem, tuple[Output, ...]]:
    """The problem with `rule` applied from the top of every expression, and the outputs in it.

    change: applied to each rewritten constraint that is not among the outputs.
    """

    def visit(expression: cp.Expression) -> cp.Expression:
        replaced = rule(expression, visit)
        if replaced is not None:
            return replaced
        return expression.copy([visit(argument) for argument in expression.args]) if expression.args else expression

    wanted = {id(output) for output in outputs}
    constraints = {}
    for constraint in problem.constraints:
        copied = constraint.copy([visit(argument) for argument in constraint.args])
        constraints[id(constraint)] = copied if id(constraint) in wanted else change(copied)
    objective = type(problem.objective)(visit(problem.objective.args[0]))
    moved = tuple(visit(output) if isinstance(output, cp.Variable) else constraints[id(output)] for output in outputs)
    return cp.Problem(objective, list(constraints.values())), moved
