"""Checking the compiled maps against CVXPY's own numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from optlayers.compiler.neutral import Canonical, canonicalize, quiet_about_sparse_values
from optlayers.compiler.parameters import replace_by_constants
from optlayers.compiler.recovery import Dual, Target, dual_value
from optlayers.errors import VerificationError
from optlayers.program import ConeProgram, ParametricProgram

VERIFICATION_TOLERANCE = 1e-10
"""Largest difference accepted, relative to the largest entry: both sides are sums of few products."""

SEED = 0
"""Seed of the random parameter values."""


def verify(
    parametric: ParametricProgram,
    canonical: Canonical,
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    targets: Sequence[Target],
) -> None:
    """Raise `VerificationError` unless the compiled maps give what CVXPY gives.

    The data map is compared, at random values of the parameters, with the data that CVXPY makes when it takes these
    values as constants, without its own parametric machinery (of a geometric program in which that is another
    problem, with the data of its parametric machinery); the recovery map with its inversion of a random point.
    """
    rng = np.random.default_rng(SEED)
    values = [_random_value(parameter, rng) for parameter in parameters]
    theta = np.concatenate([*(value.ravel() for value in values), np.zeros(0)])
    with _assigned(parameters, values):
        constant = replace_by_constants(problem, parameters, values)
        expected = canonicalize(constant, evaluate_parameters=True)
        if any(parameter.logarithmic for parameter in parametric.signature.parameters) and expected.m != canonical.m:
            # CVXPY folds sums of constants that it keeps as cones for parameters: its own parametric data are left.
            expected = canonical
        _compare_data(parametric, theta, expected)
    _compare_recovery(parametric, canonical, targets, rng)


def _compare_data(parametric: ParametricProgram, theta: np.ndarray, expected: Canonical) -> None:
    program = ConeProgram.from_data(parametric.structure, parametric.data.apply(theta))
    n, m = expected.n, expected.m
    if (n, m) != (parametric.structure.n, parametric.structure.m) or expected.cones != parametric.structure.cones:
        raise _mismatch("the sizes or cones of the program")
    P, q, constant, A, b = (
        expected.program.apply_parameters(quad_obj=True)
        if expected.program.P is not None
        else (sp.csc_matrix((n, n)), *expected.program.apply_parameters())
    )
    P = sp.csc_matrix(P)
    _compare("P", program.P, (P + P.T) / 2)
    _compare("q", program.q, q)
    _compare("A", program.A, -sp.csc_matrix(A) if m else program.A)
    _compare("b", program.b, b if m else program.b)
    _compare("the constant of the objective", parametric.constant.apply(theta), np.atleast_1d(constant))


def _compare_recovery(
    parametric: ParametricProgram, canonical: Canonical, targets: Sequence[Target], rng: np.random.Generator
) -> None:
    x, y = rng.standard_normal(canonical.n), rng.standard_normal(canonical.m)
    solution = canonical.invert(x, y)
    outputs = parametric.signature.split(np, parametric.recovery.apply(np.concatenate([x, y])))
    for target, output in zip(targets, outputs, strict=True):
        if isinstance(target, Dual):
            _compare("a dual variable", output, dual_value(solution, target))
            continue
        value = solution.primal_vars[target.id]
        dense = value.toarray() if sp.issparse(value) else np.asarray(value)
        # CVXPY projects a variable's value on its declared set, which a random point is not in.
        projected = output if _is_structured(target) else target.project(output)
        projected = projected.toarray() if sp.issparse(projected) else projected
        _compare(f"variable '{target.name()}'", np.asarray(projected), dense.reshape(target.shape))


def _is_structured(variable: cp.Variable) -> bool:
    attributes = variable.attributes
    return any(attributes[name] for name in ("diag", "symmetric", "PSD", "NSD")) or variable.sparse_idx is not None


def _compare(what: str, ours: object, theirs: object) -> None:
    difference = abs(ours - theirs)  # type: ignore[operator]
    size = float(abs(theirs).max()) if np.prod(theirs.shape) else 0.0  # type: ignore[attr-defined, arg-type]
    largest = float(difference.max()) if np.prod(difference.shape) else 0.0
    if not largest <= VERIFICATION_TOLERANCE * max(size, 1.0):
        raise _mismatch(what)


def _mismatch(what: str) -> VerificationError:
    return VerificationError(
        f"the compiled problem does not reproduce CVXPY's own data ({what}) under CVXPY {cp.__version__}. "
        "The layer would be wrong, so it is not built. Please report this with the problem and the CVXPY version."
    )


def _random_value(parameter: cp.Parameter, rng: np.random.Generator) -> np.ndarray:
    with quiet_about_sparse_values():
        value = parameter.project(rng.standard_normal(parameter.shape))
    return np.asarray(value.toarray() if sp.issparse(value) else value, dtype=np.float64)


@contextmanager
def _assigned(parameters: Sequence[cp.Parameter], values: Sequence[np.ndarray]) -> Iterator[None]:
    """The parameters at the given values; their own values come back afterwards."""
    before = [
        parameter.value_sparse if parameter.sparse_idx is not None else parameter.value for parameter in parameters
    ]
    try:
        for parameter, value in zip(parameters, values, strict=True):
            _assign(parameter, value)
        yield
    finally:
        for parameter, value in zip(parameters, before, strict=True):
            _assign(parameter, value)


def _assign(parameter: cp.Parameter, value: object) -> None:
    if parameter.sparse_idx is None or value is None:
        parameter.value = value
    elif sp.issparse(value):
        parameter.value_sparse = value
    else:
        parameter.value_sparse = sp.coo_array(
            (np.asarray(value)[parameter.sparse_idx], parameter.sparse_idx), parameter.shape
        )
