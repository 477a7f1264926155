"""From a CVXPY problem to a parametric cone program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import cvxpy as cp

from optlayers.compiler.data import compile_data
from optlayers.compiler.diagnosis import diagnose
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
) -> ParametricProgram:
    """The parametric cone program of a CVXPY problem.

    parameters: the arguments of the layer, in order. Every other parameter of the problem keeps the value that it has
        in CVXPY now.
    variables: the outputs, in order: variables, constraints (for their dual variables) or dual variables.
    canon_backend: CVXPY's canonicalization backend, None for its choice.

    Raises `ProblemError` (`NotConvexError`, `NotDPPError`, `MixedIntegerError`, `UnsupportedError`,
    `MissingValueError`) if the problem cannot be compiled, `VerificationError` if the result does not reproduce
    CVXPY's own data.
    """
    if not isinstance(problem, cp.Problem):
        raise ProblemError(f"problem must be a cvxpy.Problem; it is {problem!r}.")
    check_parameters(problem, parameters)
    fixed = fix_parameters(problem, parameters)
    diagnose(fixed)
    outputs, requests = (
        zip(*(read_output(problem, variable) for variable in variables), strict=True) if variables else ((), ())
    )
    canonical = canonicalize(fixed, canon_backend=canon_backend)
    vector = parameter_vector(canonical, fixed, parameters)
    structure, data, constant = compile_data(canonical, vector)
    recovery = compile_recovery(canonical, requests)
    signature = Signature(tuple(read_parameter(parameter) for parameter in parameters), tuple(outputs))
    parametric = ParametricProgram(structure, signature, data, constant, recovery)
    verify(parametric, canonical, fixed, parameters, requests)
    return parametric
