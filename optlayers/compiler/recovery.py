"""(x, y) -> the requested variables and dual variables, as one sparse linear map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from optlayers.compiler.curvature import shorten
from optlayers.compiler.neutral import Canonical
from optlayers.errors import ProblemError, UnsupportedError, VerificationError
from optlayers.program import AffineMap, Output

Request: TypeAlias = cp.Variable | cp.Constraint


@final
@dataclass(frozen=True, eq=False)
class Dual:
    """One of the dual variables of a constraint: the one that its `part` counts."""

    constraint: cp.Constraint
    part: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that CVXPY gives the dual variable."""
        return tuple(self.constraint.dual_variables[self.part].shape)


Target: TypeAlias = cp.Variable | Dual
"""A request, resolved."""


def read_output(problem: cp.Problem, request: Request) -> tuple[Output, Target]:
    """Name and shape of a requested output, and what it stands for.

    A constraint stands for its dual variable. Raises `ProblemError` if the request is not part of the problem, or if
    the constraint has several dual variables.
    """
    if isinstance(request, cp.Variable):
        for number, constraint in enumerate(problem.constraints):
            for part, dual in enumerate(constraint.dual_variables):
                if dual.id == request.id:
                    return _dual_output(number, Dual(constraint, part))
        if request.id not in {variable.id for variable in problem.variables()}:
            raise ProblemError(
                f"variable '{request.name()}' is not a variable of the problem, nor the dual variable of one of its "
                f"constraints. The variables are {', '.join(variable.name() for variable in problem.variables())}."
            )
        if request.is_complex():
            raise UnsupportedError(
                f"variable '{request.name()}' is complex, and outputs are real. Ask for real variables that equal "
                "its parts: re == cp.real(z), im == cp.imag(z)."
            )
        return Output(request.name(), tuple(request.shape)), request
    if isinstance(request, cp.Constraint):
        ids = [constraint.id for constraint in problem.constraints]
        if request.id not in ids:
            raise ProblemError(f"the constraint {request} is not one of the problem's constraints.")
        number = ids.index(request.id)
        if len(request.dual_variables) != 1:
            raise ProblemError(
                f"constraints[{number}] has {len(request.dual_variables)} dual variables. Ask for the ones that you "
                "want, as in constraint.dual_variables[0]."
            )
        return _dual_output(number, Dual(problem.constraints[number], 0))
    raise ProblemError(
        f"variables must be CVXPY variables, constraints (for their dual variables) or dual variables; "
        f"one is {request!r}."
    )


def _dual_output(number: int, dual: Dual) -> tuple[Output, Dual]:
    if any(argument.is_complex() for argument in dual.constraint.args):
        raise UnsupportedError(
            f"constraints[{number}] is complex, and outputs are real. Constrain real and imaginary parts by "
            "themselves, and ask for their dual variables."
        )
    name = f"dual of constraints[{number}]"
    if len(dual.constraint.dual_variables) > 1:
        name = f"{name}, part {dual.part}"
    return Output(name, dual.shape), dual


def compile_recovery(canonical: Canonical, targets: Sequence[Target]) -> AffineMap:
    """The map from (x, y), of length n + m, to the targets, each flattened by rows."""
    n, m = canonical.n, canonical.m
    duals = iter(_dual_rows(canonical, [target for target in targets if isinstance(target, Dual)]))
    blocks = [
        _variable_rows(canonical, target) if isinstance(target, cp.Variable) else next(duals) for target in targets
    ]
    matrix = sp.vstack([*blocks, sp.csr_matrix((0, n + m))], format="csr")
    return AffineMap(matrix, np.zeros(matrix.shape[0]))


def _variable_rows(canonical: Canonical, variable: cp.Variable) -> sp.csr_matrix:
    """CVXPY replaces a symmetric variable by its upper triangle, a diagonal or sparse one by its entries."""
    if not variable.size:
        return sp.csr_matrix((0, canonical.n + canonical.m))
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


def _dual_rows(canonical: Canonical, duals: Sequence[Dual]) -> list[sp.csr_matrix]:
    """What CVXPY's own chain makes of y for each dual variable, found by probing it.

    Each entry of a dual variable is a multiple of one entry of y. Probing with all ones gives the multiples; probing
    with the j-th binary digit of each row's number gives the j-th digit of the row, so that some log2(m) calls of
    CVXPY's inversion determine signs, scalings and order whatever its conventions are.
    """
    if not duals:
        return []
    n, m = canonical.n, canonical.m
    digits = max(1, int(m).bit_length())
    multiples = _probe(canonical, duals, np.ones(m))
    found = [np.zeros(multiple.shape, dtype=np.int64) for multiple in multiples]
    for digit in range(digits):
        probe = ((np.arange(m) >> digit) & 1).astype(np.float64)
        for index, (value, multiple) in enumerate(zip(_probe(canonical, duals, probe), multiples, strict=True)):
            found[index] |= np.where((multiple != 0) & (value == multiple), 1 << digit, 0)
    return [
        sp.csr_matrix((multiple, (np.arange(len(multiple)), n + rows)), shape=(len(multiple), n + m))
        for multiple, rows in zip(multiples, found, strict=True)
    ]


def _probe(canonical: Canonical, duals: Sequence[Dual], y: np.ndarray) -> list[np.ndarray]:
    solution = canonical.invert(np.zeros(canonical.n), y)
    return [dual_value(solution, dual).ravel() for dual in duals]


def dual_value(solution: Any, dual: Dual) -> np.ndarray:
    """A dual variable's value in CVXPY's solution, with its shape: CVXPY splits the value of a constraint itself."""
    constraint, value, part = dual.constraint, solution.dual_vars.get(dual.constraint.id), None
    if value is not None:
        before = [variable.value for variable in constraint.dual_variables]
        try:
            constraint.save_dual_value(value)
            part = constraint.dual_variables[dual.part].value
        finally:
            for variable, old in zip(constraint.dual_variables, before, strict=True):
                variable.save_value(old)
    if part is None:
        raise UnsupportedError(
            f"the dual variables of the constraint {shorten(constraint)} are asked for, but CVXPY gives none for "
            f"constraints of this kind ({type(constraint).__name__}). Leave them out."
        )
    if np.size(part) != int(np.prod(dual.shape)):
        raise VerificationError(
            f"CVXPY {cp.__version__} gives no dual value of the expected size for the constraint {constraint}."
        )
    return np.asarray(part, dtype=np.float64).reshape(dual.shape)
