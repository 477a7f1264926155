"""(x, y) -> the requested variables and dual variables, as one sparse linear map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from optlayers.compiler.neutral import Canonical
from optlayers.errors import ProblemError, VerificationError
from optlayers.program import AffineMap, Output

Request: TypeAlias = cp.Variable | cp.Constraint


def read_output(problem: cp.Problem, request: Request) -> tuple[Output, Request]:
    """Name and shape of a requested output, and the request with a constraint's dual variable resolved to it.

    A constraint stands for its dual variable. Raises `ProblemError` if the request is not part of the problem.
    """
    if isinstance(request, cp.Variable):
        for constraint in problem.constraints:
            if any(dual.id == request.id for dual in constraint.dual_variables):
                return read_output(problem, constraint)
        if request.id not in {variable.id for variable in problem.variables()}:
            raise ProblemError(
                f"variable '{request.name()}' is not a variable of the problem, nor the dual variable of one of its "
                f"constraints. The variables are {', '.join(variable.name() for variable in problem.variables())}."
            )
        return Output(request.name(), tuple(request.shape)), request
    if isinstance(request, cp.Constraint):
        ids = [constraint.id for constraint in problem.constraints]
        if request.id not in ids:
            raise ProblemError(f"the constraint {request} is not one of the problem's constraints.")
        return Output(f"dual of constraints[{ids.index(request.id)}]", tuple(request.shape)), request
    raise ProblemError(
        f"variables must be CVXPY variables, constraints (for their dual variables) or dual variables; "
        f"one is {request!r}."
    )


def compile_recovery(canonical: Canonical, requests: Sequence[Request]) -> AffineMap:
    """The map from (x, y), of length n + m, to the requests, each flattened by rows."""
    n, m = canonical.n, canonical.m
    duals = _dual_rows(canonical, [request for request in requests if isinstance(request, cp.Constraint)])
    blocks = [
        _variable_rows(canonical, request) if isinstance(request, cp.Variable) else duals[request.id]
        for request in requests
    ]
    matrix = sp.vstack([*blocks, sp.csr_matrix((0, n + m))], format="csr")
    return AffineMap(matrix, np.zeros(matrix.shape[0]))


def _variable_rows(canonical: Canonical, variable: cp.Variable) -> sp.csr_matrix:
    """CVXPY replaces a symmetric variable by its upper triangle, a diagonal or sparse one by its entries."""
    (inner,) = canonical.chain.compose_var_id_map().get(variable.id, [variable.id])
    start = canonical.program.var_id_to_col[inner]
    places = np.full(variable.shape, -1, dtype=np.int64)
    attributes = variable.attributes
    if attributes["symmetric"] or attributes["PSD"] or attributes["NSD"]:
        i, j = np.triu_indices(variable.shape[0])
        places[i, j] = places[j, i] = np.arange(len(i))
    elif attributes["diag"]:
        np.fill_diagonal(places, np.arange(variable.shape[0]))
    elif variable.sparse_idx is not None:
        places[variable.sparse_idx] = np.arange(len(variable.sparse_idx[0]))
    else:
        places = np.arange(variable.size).reshape(variable.shape, order="F")
    flat = places.ravel()
    rows = np.flatnonzero(flat >= 0)
    return sp.csr_matrix(
        (np.ones(len(rows)), (rows, start + flat[rows])), shape=(variable.size, canonical.n + canonical.m)
    )


def _dual_rows(canonical: Canonical, constraints: Sequence[cp.Constraint]) -> dict[int, sp.csr_matrix]:
    """What CVXPY's own chain makes of y for each constraint, found by probing it.

    Each entry of a dual variable is a multiple of one entry of y. Probing with all ones gives the multiples; probing
    with the j-th binary digit of each row's number gives the j-th digit of the row, so that some log2(m) calls of
    CVXPY's inversion determine signs, scalings and order whatever its conventions are.
    """
    if not constraints:
        return {}
    n, m = canonical.n, canonical.m
    digits = max(1, int(m).bit_length())
    multiples = _probe(canonical, constraints, np.ones(m))
    found = [np.zeros(multiple.shape, dtype=np.int64) for multiple in multiples]
    for digit in range(digits):
        probe = ((np.arange(m) >> digit) & 1).astype(np.float64)
        for index, (value, multiple) in enumerate(zip(_probe(canonical, constraints, probe), multiples, strict=True)):
            found[index] |= np.where((multiple != 0) & (value == multiple), 1 << digit, 0)
    blocks: dict[int, sp.csr_matrix] = {}
    for constraint, multiple, rows in zip(constraints, multiples, found, strict=True):
        entries = np.arange(len(multiple))
        blocks[constraint.id] = sp.csr_matrix((multiple, (entries, n + rows)), shape=(len(multiple), n + m))
    return blocks


def _probe(canonical: Canonical, constraints: Sequence[cp.Constraint], y: np.ndarray) -> list[np.ndarray]:
    solution = canonical.invert(np.zeros(canonical.n), y)
    return [dual_value(solution, constraint).ravel() for constraint in constraints]


def dual_value(solution: Any, constraint: cp.Constraint) -> np.ndarray:
    """A constraint's dual value in CVXPY's solution, with the constraint's shape."""
    value = solution.dual_vars.get(constraint.id)
    if value is None or np.size(value) != constraint.size:
        raise VerificationError(
            f"CVXPY {cp.__version__} gives no dual value of the expected size for the constraint {constraint}."
        )
    return np.asarray(value, dtype=np.float64).reshape(constraint.shape)
