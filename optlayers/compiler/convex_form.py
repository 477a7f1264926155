"""The convex form of a problem: itself, or that of a geometric program in the logarithms of its variables.

A log-log convex program (Agrawal, Diamond and Boyd, 2019) becomes a convex one under u = log x; CVXPY's reduction gives
it. Parameters that it takes in log space enter by their logarithms, others (exponents) as they are. A constraint
f(x) <= g(x) becomes log f(e^u) <= log g(e^u), and its dual variable, CVXPY's dual value, is that of the latter: the
relative change of the optimal value for a relative change of the constraint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import cvxpy as cp
import numpy as np
from cvxpy.reductions import Dgp2Dcp

from optlayers.compiler.parameters import replace_by_constants
from optlayers.compiler.recovery import Dual, Target
from optlayers.errors import UnsupportedError

UNSUPPORTED_ATTRIBUTES = ("sparsity", "diag", "PSD", "NSD")
"""What a variable or parameter of a geometric program cannot be: its entries must all be positive, and free."""


@final
@dataclass(frozen=True, eq=False)
class ConvexForm:
    """A problem, its parameters, and the same in convex form.

    problem: the convex problem.
    parameters: for each of `stated_parameters`, the one in its place.
    logarithmic: which of them hold the logarithm.
    """

    stated: cp.Problem
    stated_parameters: tuple[cp.Parameter, ...]
    problem: cp.Problem
    parameters: tuple[cp.Parameter, ...]
    logarithmic: tuple[bool, ...]
    geometric: bool
    _variables: dict[int, cp.Variable]
    _constraints: dict[int, cp.Constraint]

    def target(self, target: Target) -> Target:
        """What stands in the convex problem for a variable or a dual variable: of a variable, its logarithm."""
        if isinstance(target, cp.Variable):
            return self.logarithm(target) if self.geometric else target
        return Dual(self._constraints.get(target.constraint.id, target.constraint), target.part)

    def logarithm(self, variable: cp.Variable) -> cp.Variable:
        """The variable that holds the logarithm of a variable of a geometric program."""
        return self._variables[variable.id]

    def sides(self) -> list[tuple[cp.Expression, cp.Expression]]:
        """The objective and the sides of the constraints, each with what stands for it in the convex problem."""
        constraints = [(stated, self._constraints.get(stated.id, stated)) for stated in self.stated.constraints]
        pairs = [(self.stated.objective, self.problem.objective), *constraints]
        return [sides for stated, convex in pairs for sides in zip(stated.args, convex.args, strict=True)]

    def at(self, parameters: Sequence[cp.Parameter], values: Sequence[Any]) -> cp.Problem:
        """The convex form of the problem when some of its stated parameters are constants."""
        constant = replace_by_constants(self.stated, parameters, values)
        return Dgp2Dcp(constant).apply(constant)[0] if self.geometric else constant


def of_convex(problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> ConvexForm:
    """The form of a convex problem: itself."""
    given = tuple(parameters)
    return ConvexForm(problem, given, problem, given, (False,) * len(given), False, {}, {})


def of_geometric(problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> ConvexForm:
    """The form of a geometric program in logarithms.

    Raises `UnsupportedError` for a parameter that is needed both by itself and by its logarithm, and for variables and
    parameters with attributes that have no logarithm.
    """
    for leaf in [*problem.variables(), *problem.parameters()]:
        for attribute in UNSUPPORTED_ATTRIBUTES:
            if leaf.attributes[attribute]:
                kind = "variable" if isinstance(leaf, cp.Variable) else "parameter"
                raise UnsupportedError(
                    f"{kind} {leaf.name()} is declared with {attribute}, which a geometric program cannot have: all "
                    "entries must be positive.\n"
                    "  next step: leave the attribute out, and build the matrix from a vector of its entries"
                )
    reduction = Dgp2Dcp(problem)
    convex, inverse = _reduce(reduction, problem, parameters)
    leaves = {leaf.id: leaf for leaf in [*convex.parameters(), *convex.variables()]}
    logarithms = {old: leaves[new] for old, (new,) in reduction.param_id_map.items()}
    for parameter in parameters:
        if parameter.id in logarithms and parameter.id in leaves:
            raise UnsupportedError(
                f"parameter {parameter.name()} is an exponent as well as a factor of the geometric program.\n"
                "  next step: make two parameters of it, and pass both the same value"
            )
    constraints = {constraint.id: constraint for constraint in convex.constraints}
    return ConvexForm(
        problem,
        tuple(parameters),
        convex,
        tuple(logarithms.get(parameter.id, parameter) for parameter in parameters),
        tuple(parameter.id in logarithms for parameter in parameters),
        True,
        {old: leaves[new] for old, (new,) in reduction.var_id_map.items()},
        {old: constraints[new] for old, new in inverse.cons_id_map.items()},
    )


def _reduce(reduction: Dgp2Dcp, problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> tuple[cp.Problem, Any]:
    """What the reduction makes of the problem: CVXPY takes the logarithms of values, so that all must have one."""
    before = [parameter.value for parameter in parameters]
    try:
        for parameter, value in zip(parameters, before, strict=True):
            if value is None:
                parameter.save_value(np.ones(parameter.shape))
        convex, inverse = reduction.apply(problem)
    except (ValueError, NotImplementedError) as error:
        raise UnsupportedError(
            f"CVXPY cannot write the geometric program in logarithms: {error}\n"
            "  next step: rewrite the part that this is about; bounds of variables must not be negative"
        ) from None
    finally:
        for parameter, value in zip(parameters, before, strict=True):
            parameter.save_value(value)
    return convex, inverse
