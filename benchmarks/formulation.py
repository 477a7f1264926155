"""The two ways in which a problem of the catalogue is written for a contestant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import cvxpy as cp
import numpy as np
from cvxpy.atoms.quad_form import QuadForm

from benchmarks.contestant import RefusedError, Values
from benchmarks.rewriting import rewrite
from tests.problems import Instance


@final
@dataclass(frozen=True)
class Formulation:
    """An instance of the catalogue in the form `name`: "given" or "plain".

    factored: for each parameter whether it is the factor L of the catalogue's parameter P = L L'.
    """

    name: str
    instance: Instance
    factored: tuple[bool, ...]

    def values(self, values: Values) -> Values:
        """This form's parameter values for values (*B, *shape) of the catalogue's."""
        return tuple(
            np.asarray(np.linalg.cholesky(value)) if factored else value
            for value, factored in zip(values, self.factored, strict=True)
        )

    def tangents(self, values: Values, tangents: Values) -> Values:
        """Their tangents. For P = L L' lower triangular, dL = L Phi(L^-1 dP L^-T), Phi the lower triangle with half
        of the diagonal (Murray, 2016)."""
        return tuple(
            _cholesky_tangent(value, tangent) if factored else tangent
            for value, tangent, factored in zip(values, tangents, self.factored, strict=True)
        )


def given(instance: Instance) -> Formulation:
    """The problem as the catalogue has it."""
    return Formulation("given", instance, (False,) * len(instance.parameters))


def plain(instance: Instance) -> Formulation:
    """The problem as CVXPY's default DPP rules and every package have it.

    quad_form(x, P) with P = L L' a parameter becomes sum_squares(L'x), with L a parameter; a diagonal or sparse
    parameter becomes a dense one.
    """
    replaced: dict[int, cp.Parameter] = {}
    for parameter in instance.parameters:
        attributes = parameter.attributes
        if attributes["PSD"] or attributes["diag"] or parameter.sparse_idx is not None:
            replaced[id(parameter)] = cp.Parameter(parameter.shape)

    def rule(expression: cp.Expression, visit: Callable[[cp.Expression], cp.Expression]) -> cp.Expression | None:
        if isinstance(expression, QuadForm) and isinstance(expression.args[1], cp.Parameter):
            factor = replaced[id(expression.args[1])]
            return cp.sum_squares(factor.T @ visit(expression.args[0]))
        if isinstance(expression, cp.Parameter) and expression.attributes["PSD"]:
            raise RefusedError(
                f"no plain form is known for a semidefinite parameter outside quad_form: {expression.name()}"
            )
        return replaced.get(id(expression))

    problem, outputs = rewrite(instance.problem, instance.outputs, rule)
    factored = tuple(bool(parameter.attributes["PSD"]) for parameter in instance.parameters)
    parameters = tuple(replaced.get(id(parameter), parameter) for parameter in instance.parameters)
    form = Formulation("plain", Instance(problem, parameters, outputs, ()), factored)
    return Formulation("plain", Instance(problem, parameters, outputs, form.values(instance.values)), factored)


def _cholesky_tangent(value: np.ndarray, tangent: np.ndarray) -> np.ndarray:
    L = np.linalg.cholesky(value)
    half = np.linalg.solve(L, tangent)
    inner = np.linalg.solve(L, half.swapaxes(-2, -1))
    return np.asarray(L @ (np.tril(inner, -1) + np.eye(L.shape[-1]) * inner / 2))
