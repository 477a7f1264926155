"""CVXPY's parameters as parameters of a layer, and as entries of CVXPY's parameter vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.atoms.affine.wraps import nsd_wrap, psd_wrap
from cvxpy.expressions.constants import Constant

from optlayers.compiler.neutral import Canonical
from optlayers.errors import MissingValueError, ProblemError
from optlayers.program import AffineMap, Parameter
from optlayers.program.parameter import AbstractRule, Bounds, Semidefinite, Sign, Support, Symmetric


def check_parameters(problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> None:
    """Raise `ProblemError` unless `parameters` are distinct parameters of the problem; `MissingValueError` for others
    that have no value."""
    known = {parameter.id for parameter in _list_parameters(problem)}
    seen: set[int] = set()
    for parameter in parameters:
        if not isinstance(parameter, cp.Parameter):
            raise ProblemError(f"parameters must be CVXPY parameters; one is {parameter!r}.")
        if parameter.id not in known:
            raise ProblemError(
                f"'{parameter.name()}' is not a parameter of the problem. Its parameters are "
                f"{', '.join(sorted(other.name() for other in _list_parameters(problem))) or 'none'}."
            )
        if parameter.id in seen:
            raise ProblemError(f"parameter '{parameter.name()}' is listed twice.")
        seen.add(parameter.id)
    for other in _list_parameters(problem):
        if other.id not in seen and _value(other) is None:
            raise MissingValueError(
                f"parameter '{other.name()}' is not among the parameters of the layer and has no value in CVXPY. "
                f"Add it to `parameters`, or set its value before compiling."
            )


def fix_parameters(problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> cp.Problem:
    """The problem with every parameter that is not listed replaced by its value. Constraints keep their ids."""
    listed = {parameter.id for parameter in parameters}
    others = [other for other in _list_parameters(problem) if other.id not in listed]
    return replace_by_constants(problem, others, [_value(other) for other in others])


def _list_parameters(problem: cp.Problem) -> list[cp.Parameter]:
    """The parameters of the problem, with those that CVXPY does not list: in the exponents of power cones."""
    found = {parameter.id: parameter for parameter in problem.parameters()}
    for constraint in problem.constraints:
        if isinstance(constraint, cp.PowCone3D | cp.PowConeND):
            found |= {parameter.id: parameter for parameter in constraint.alpha.parameters()}
    return list(found.values())


def replace_by_constants(problem: cp.Problem, parameters: Sequence[cp.Parameter], values: Sequence[Any]) -> cp.Problem:
    """The problem with the parameters replaced by values, except in the bounds of variables. Constraints keep their
    ids, and a semidefinite parameter's value is not tested again by CVXPY."""
    copies = {id(parameter): _constant(parameter, value) for parameter, value in zip(parameters, values, strict=True)}
    if not copies:
        return problem
    return cp.Problem(
        _copy(problem.objective, copies), [_copy(constraint, copies) for constraint in problem.constraints]
    )


def _copy(item: Any, copies: dict[int, Any]) -> Any:
    """An expression, objective or constraint with the replacements in `copies`, where every copy is put; what holds
    none of them is not copied (CVXPY cannot copy all of its functions)."""
    if isinstance(item, list):  # the constraints of a problem inside an expression
        copied = [_copy(entry, copies) for entry in item]
        return copied if any(new is not old for new, old in zip(copied, item, strict=True)) else item
    if id(item) not in copies:
        arguments = [_copy(argument, copies) for argument in item.args]
        data = item.get_data() or []
        new_data = [_copy(datum, copies) if isinstance(datum, cp.Expression) else datum for datum in data]
        if any(new is not old for new, old in zip(new_data, data, strict=True)):
            copies[id(item)] = type(item)(*arguments, *new_data)
        elif any(new is not old for new, old in zip(arguments, item.args, strict=True)):
            copies[id(item)] = item.copy(arguments)
        else:
            copies[id(item)] = item
    return copies[id(item)]


def _constant(parameter: cp.Parameter, value: Any) -> Any:
    if parameter.attributes["PSD"]:
        return psd_wrap(Constant(value))
    return nsd_wrap(Constant(value)) if parameter.attributes["NSD"] else Constant(value)


def read_parameter(parameter: cp.Parameter) -> Parameter:
    """Name, shape and rules of a CVXPY parameter."""
    attributes = parameter.attributes
    rules: list[AbstractRule] = []
    if attributes["diag"]:
        rules.append(Support(np.eye(parameter.shape[0], dtype=np.bool_)))
    if parameter.sparse_idx is not None:
        mask = np.zeros(parameter.shape, dtype=np.bool_)
        mask[parameter.sparse_idx] = True
        rules.append(Support(mask))
    if attributes["symmetric"] or attributes["PSD"] or attributes["NSD"]:
        rules.append(Symmetric())
    for name, positive, strict in (
        ("nonneg", True, False),
        ("nonpos", False, False),
        ("pos", True, True),
        ("neg", False, True),
    ):
        if attributes[name]:
            rules.append(Sign(positive, strict))
    if attributes["bounds"] is not None:
        lower, upper = (np.broadcast_to(_dense(bound), parameter.shape) for bound in attributes["bounds"])
        rules.append(Bounds(lower, upper))
    if attributes["PSD"] or attributes["NSD"]:
        rules.append(Semidefinite(bool(attributes["PSD"])))
    return Parameter(parameter.name(), tuple(parameter.shape), tuple(rules))


def parameter_vector(canonical: Canonical, problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> AffineMap:
    """theta (p) -> CVXPY's parameter vector, which ends with the constant 1.

    theta holds each parameter by rows. CVXPY's vector holds each by columns; of a symmetric parameter it holds the
    upper triangle by rows (read here as the mean of both triangles), of a diagonal one the diagonal, of a sparse one
    the entries of its pattern.
    """
    program = canonical.program
    reduced_ids = canonical.chain.compose_param_id_map()
    size = int(program.total_param_size) + 1
    starts = np.cumsum([0, *(parameter.size for parameter in parameters)])
    offset = np.zeros(size)
    offset[-1] = 1.0
    place: dict[int, int] = {parameter.id: int(start) for parameter, start in zip(parameters, starts[:-1], strict=True)}
    rows: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for parameter in problem.parameters():
        (inner,) = reduced_ids.get(parameter.id, [parameter.id])
        if inner not in program.param_id_to_col:
            continue
        picks, weights = _picks(parameter)
        targets = program.param_id_to_col[inner] + np.repeat(np.arange(len(picks)), picks.shape[1])
        if parameter.id in place:
            rows.append(targets)
            columns.append(place[parameter.id] + picks.ravel())
            values.append(weights.ravel())
        else:
            value = _dense(_value(parameter)).ravel()
            np.add.at(offset, targets, weights.ravel() * value[picks.ravel()])
    matrix = sp.coo_matrix(
        (
            np.concatenate([*values, np.zeros(0)]),
            (np.concatenate([*rows, np.zeros(0, int)]), np.concatenate([*columns, np.zeros(0, int)])),
        ),
        shape=(size, int(starts[-1])),
    )
    return AffineMap(matrix.tocsr(), offset)


def _picks(parameter: cp.Parameter) -> tuple[np.ndarray, np.ndarray]:
    """For each entry of CVXPY's reduced parameter, the row-major places of the full one, and their weights."""
    places = np.arange(parameter.size).reshape(parameter.shape)
    attributes = parameter.attributes
    if attributes["symmetric"] or attributes["PSD"] or attributes["NSD"]:
        i, j = np.triu_indices(parameter.shape[0])
        picks = np.stack([places[i, j], places[j, i]], axis=1)
        return picks, np.full(picks.shape, 0.5)
    if attributes["diag"]:
        picks = np.diag(places)[:, None]
    elif parameter.sparse_idx is not None:
        picks = places[parameter.sparse_idx][:, None]
    else:
        picks = places.ravel(order="F")[:, None]
    return picks, np.ones(picks.shape)


def _value(parameter: cp.Parameter) -> Any:
    """The parameter's value: a sparse one's as a sparse array."""
    if parameter.sparse_idx is not None:
        return parameter.value_sparse
    return parameter.value


def _dense(value: Any) -> np.ndarray:
    return np.asarray(value.toarray() if sp.issparse(value) else value, dtype=np.float64)
