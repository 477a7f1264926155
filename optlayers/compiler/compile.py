"""From a CVXPY problem to a parametric cone program."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

import cvxpy as cp

from optlayers.compiler.convex_form import of_convex, of_geometric
from optlayers.compiler.data import compile_data
from optlayers.compiler.diagnosis import diagnose
from optlayers.compiler.geometric_diagnosis import diagnose_geometric
from optlayers.compiler.neutral import canonicalize
from optlayers.compiler.parameters import check_parameters, fix_parameters, parameter_vector, read_parameter
from optlayers.compiler.recovery import Request, compile_recovery, read_output
from optlayers.compiler.verification import verify
from optlayers.errors import ProblemError
from optlayers.program import ParametricProgram, Signature

Problem: TypeAlias = cp.Problem
ProblemParameter: TypeAlias = cp.Parameter


def compile_problem(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    variables: Sequence[Request],
    canon_backend: str | None = None,
    *,
    gp: bool = False,
) -> ParametricProgram:
    """The parametric cone program of a CVXPY problem.

    parameters: the arguments of the layer, in order. Every other parameter of the problem keeps the value that it has
        in CVXPY now.
    variables: the outputs, in order, of which there may be none: variables, constraints (for their dual variables) or
        dual variables.
    canon_backend: CVXPY's canonicalization backend, None for its choice.
    gp: whether the problem is a geometric program. Its dual variables are those of CVXPY, between the logarithms of the
        sides of constraints.

    Raises `ProblemError` (`NotConvexError`, `NotDPPError`, `MixedIntegerError`, `UnsupportedError`,
    `MissingValueError`) if the problem cannot be compiled, `VerificationError` if the result does not reproduce
    CVXPY's own data.
    """
    if not isinstance(problem, cp.Problem):
        raise ProblemError(f"problem must be a cvxpy.Problem; it is {problem!r}.")
    for name, given in (("parameters", parameters), ("variables", variables)):
        if not isinstance(given, Sequence):
            single = isinstance(given, cp.Expression | cp.Constraint)
            example = f"as [{given}]" if single else "in the order of the call"
            raise ProblemError(f"{name} must be a list, {example}; it is {given!r}.")
    check_parameters(problem, parameters)
    fixed = fix_parameters(problem, parameters)
    if gp:
        diagnose_geometric(fixed)
        form = of_geometric(fixed, parameters)
    else:
        diagnose(fixed)
        form = of_convex(fixed, parameters)
    read = [read_output(problem, variable) for variable in variables]
    targets = [form.target(target) for _, target in read]
    signature = Signature(
        tuple(
            dataclasses.replace(read_parameter(parameter), logarithmic=logarithmic)
            for parameter, logarithmic in zip(parameters, form.logarithmic, strict=True)
        ),
        tuple(
            dataclasses.replace(output, exponential=gp and isinstance(target, cp.Variable)) for output, target in read
        ),
    )
    canonical = canonicalize(form.problem, canon_backend=canon_backend)
    structure, data, constant = compile_data(canonical, parameter_vector(canonical, form.problem, form.parameters))
    parametric = ParametricProgram(structure, signature, data, constant, compile_recovery(canonical, targets))
    verify(parametric, canonical, form, targets)
    return parametric
