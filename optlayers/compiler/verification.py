"""Checking the compiled maps against CVXPY's own numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.atoms.atom import Atom
from cvxpy.utilities import scopes

from optlayers.compiler.convex_form import ConvexForm
from optlayers.compiler.curvature import Curvature, list_demands, shorten
from optlayers.compiler.neutral import Canonical, canonicalize, quiet_about_sparse_values
from optlayers.compiler.recovery import Dual, Target, dual_value
from optlayers.errors import VerificationError
from optlayers.program import ConeProgram, ParametricProgram

VERIFICATION_TOLERANCE = 1e-10
"""Largest difference accepted, relative to the largest entry: both sides are sums of few products."""

SEED = 0
"""Seed of the random parameter values."""


def verify(parametric: ParametricProgram, canonical: Canonical, form: ConvexForm, targets: Sequence[Target]) -> None:
    """Raise `VerificationError` unless the compiled maps give what CVXPY gives.

    The data map is compared, at random values of the parameters, with the data that CVXPY makes when it takes these
    values as constants, without its own parametric machinery; the recovery map with its inversion of a random point.

    Functions of parameters alone that are not affine, as exp(p), get cones of their own, which constants do not: their
    parameters stay parameters, and the machinery is CVXPY's.
    """
    rng = np.random.default_rng(SEED)
    values = [_random_value(parameter, rng) for parameter in form.stated_parameters]
    entries = [
        np.asarray(np.log(value) if logarithmic else value)
        for value, logarithmic in zip(values, form.logarithmic, strict=True)
    ]
    theta = np.concatenate([*(entry.ravel() for entry in entries), np.zeros(0)])
    kept = _parameters_with_cones(form)
    fixed = [index for index, parameter in enumerate(form.parameters) if parameter.id not in kept]
    # What is said of the problem has been said when it was compiled.
    with _assigned(form.stated_parameters, values), warnings.catch_warnings(action="ignore"):
        constant = form.at([form.stated_parameters[index] for index in fixed], [values[index] for index in fixed])
        _compare_data(parametric, theta, canonicalize(constant, evaluate_parameters=not kept))
        if form.geometric:
            _compare_logarithms(form, entries, rng)
    _compare_recovery(parametric, canonical, targets, rng)


def _parameters_with_cones(form: ConvexForm) -> set[int]:
    """The parameters of the convex problem that occur in non-affine functions of parameters alone."""
    found: set[int] = set()
    pending = [demand.expression for demand in list_demands(form.problem)]
    with scopes.dpp_scope():
        while pending:
            expression = pending.pop()
            parameters = expression.parameters()
            if parameters and expression.variables():
                pending += expression.args if isinstance(expression, Atom) else []
            elif not Curvature.AFFINE.holds(expression):
                found |= {parameter.id for parameter in parameters}
    return found


def _compare_data(parametric: ParametricProgram, theta: np.ndarray, expected: Canonical) -> None:
    program = ConeProgram.from_data(parametric.structure, parametric.data.apply(theta))
    n, m = expected.n, expected.m
    if (n, m) != (parametric.structure.n, parametric.structure.m) or expected.cones != parametric.structure.cones:
        raise _mismatch("the sizes or cones of the program")
    P, q, _, A, b = (
        expected.program.apply_parameters(quad_obj=True)
        if expected.program.P is not None
        else (sp.csc_matrix((n, n)), *expected.program.apply_parameters())
    )
    P = sp.csc_matrix(P)
    _compare("P", program.P, (P + P.T) / 2)
    _compare("q", program.q, q)
    _compare("A", program.A, -sp.csc_matrix(A) if m else program.A)
    _compare("b", program.b, b if m else program.b)


def _compare_logarithms(form: ConvexForm, entries: Sequence[np.ndarray], rng: np.random.Generator) -> None:
    """Whether log f(e^u) is what CVXPY takes it for, at a random u: for the objective and the sides of constraints.

    Functions that get variables of their own, and those whose domain the point is not in, are left out.
    """
    for parameter, entry in zip(form.parameters, entries, strict=True):
        parameter.save_value(entry)
    variables = form.stated.variables()
    before = [variable.value for variable in variables]
    try:
        for stated in variables:
            u = rng.standard_normal(stated.shape)
            u = (u + u.T) / 2 if stated.attributes["symmetric"] else u
            stated.save_value(np.exp(u))
            form.logarithm(stated).save_value(u)
        known = {form.logarithm(variable).id for variable in variables}
        for stated, convex in form.sides():
            value = np.log(stated.value)
            if known.issuperset(variable.id for variable in convex.variables()) and np.isfinite(value).all():
                difference = abs(value - convex.value).max(initial=0)
                if not difference <= VERIFICATION_TOLERANCE * max(abs(value).max(initial=0), 1.0):
                    raise VerificationError(
                        f"CVXPY {cp.__version__} takes a wrong logarithm of {shorten(stated)} in a geometric program. "
                        "The layer would be wrong, so it is not built. Write this part in other functions."
                    )
    finally:
        for variable, old in zip(variables, before, strict=True):
            variable.save_value(old)


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
    """A value of the declared kind, in its interior, or between integers: CVXPY merges what has equal constants."""
    value, attributes = rng.standard_normal(parameter.shape), parameter.attributes
    if attributes["PSD"] or attributes["NSD"]:
        value = value @ value.T * (1 if attributes["PSD"] else -1)
    elif attributes["symmetric"]:
        value = (value + value.T) / 2
    elif attributes["diag"]:
        value = np.diag(np.diag(value))
    if attributes["nonneg"] or attributes["pos"] or attributes["boolean"]:
        value = abs(value)
    elif attributes["nonpos"] or attributes["neg"]:
        value = -abs(value)
    if attributes["bounds"] is not None:
        low, high = attributes["bounds"]
        start = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high - 1, 0))
        value = start + np.where(np.isfinite(high - low), high - low, 1) * rng.random(parameter.shape)
    if attributes["integer"] or attributes["boolean"]:
        return np.asarray(value)
    with quiet_about_sparse_values():
        value = parameter.project(value)
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
        parameter.save_value(value)
    elif sp.issparse(value):
        parameter.value_sparse = value
    else:
        parameter.value_sparse = sp.coo_array(
            (np.asarray(value)[parameter.sparse_idx], parameter.sparse_idx), parameter.shape
        )
