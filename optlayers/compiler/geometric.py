"""Geometric programs, by their convex form in the logarithms of variables and parameters.

A log-log convex program (Agrawal, Diamond and Boyd, 2019) becomes a convex one under u = log x; CVXPY's reduction gives
it. Parameters that it takes in log space enter by their logarithms, others (exponents) as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import cvxpy as cp
import numpy as np
from cvxpy.reductions import Dgp2Dcp

from optlayers.errors import UnsupportedError


@final
@dataclass(frozen=True, eq=False)
class Logarithmic:
    """The convex form of a geometric program.

    parameters: for each parameter of the program asked for, the one in its place.
    logarithmic: which of them hold the logarithm.
    """

    problem: cp.Problem
    parameters: tuple[cp.Parameter, ...]
    logarithmic: tuple[bool, ...]
    _variables: dict[int, cp.Variable]

    def variable(self, variable: cp.Variable) -> cp.Variable:
        """The variable that holds the logarithm of a variable of the program."""
        return self._variables[variable.id]


def to_logarithms(problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> Logarithmic:
    """The convex form; `UnsupportedError` for a parameter that is needed both by itself and by its logarithm."""
    before = [parameter.value for parameter in parameters]
    reduction = Dgp2Dcp(problem)
    try:
        for parameter, value in zip(parameters, before, strict=True):
            if value is None:  # CVXPY takes the logarithm of the value
                parameter.value = np.ones(parameter.shape)
        convex, _ = reduction.apply(problem)
    finally:
        for parameter, value in zip(parameters, before, strict=True):
            parameter.value = value
    inner = {leaf.id: leaf for leaf in [*convex.parameters(), *convex.variables()]}
    logarithms = {old: inner[new] for old, (new,) in reduction.param_id_map.items()}
    for parameter in parameters:
        if parameter.id in logarithms and parameter.id in inner:
            raise UnsupportedError(
                f"parameter '{parameter.name()}' is an exponent as well as a factor of the geometric program. Make two "
                "parameters of it, and pass both the same value."
            )
    return Logarithmic(
        convex,
        tuple(logarithms.get(parameter.id, parameter) for parameter in parameters),
        tuple(parameter.id in logarithms for parameter in parameters),
        {old: inner[new] for old, (new,) in reduction.var_id_map.items()},
    )
