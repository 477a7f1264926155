"""From a CVXPY problem to a parametric cone program."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

import cvxpy as cp

from optlayers.compiler.data import compile_data
from optlayers.compiler.diagnosis import diagnose, diagnose_geometric
from optlayers.compiler.geometric import to_logarithms
from optlayers.compiler.neutral import canonicalize
from optlayers.compiler.parameters import check_parameters, fix_parameters, parameter_vector, read_parameter
from optlayers.compiler.recovery import Request, Target, compile_recovery, read_output
from optlayers.compiler.verification import verify
from optlayers.errors import ProblemError, UnsupportedError
from optlayers.program import Output, ParametricProgram, Signature

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
    variables: the outputs, in order: variables, constraints (for their dual variables) or dual variables.
    canon_backend: CVXPY's canonicalization backend, None for its choice.
    gp: whether the problem is a geometric program; its outputs are variables only.

    Raises `ProblemError` (`NotConvexError`, `NotDPPError`, `MixedIntegerError`, `UnsupportedError`,
    `MissingValueError`) if the problem cannot be compiled, `VerificationError` if the result does not reproduce
    CVXPY's own data.
    """
    if not isinstance(problem, cp.Problem):
        raise ProblemError(f"problem must be a cvxpy.Problem; it is {problem!r}.")
    check_parameters(problem, parameters)
    fixed = fix_parameters(problem, parameters)
    if gp:
        return _compile_geometric(fixed, parameters, variables, canon_backend)
    diagnose(fixed)
    outputs, targets = _read_outputs(problem, variables)
    read = tuple(read_parameter(parameter) for parameter in parameters)
    return _compile_convex(fixed, parameters, targets, Signature(read, outputs), canon_backend)


def _compile_geometric(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    variables: Sequence[Request],
    canon_backend: str | None,
) -> ParametricProgram:
    diagnose_geometric(problem)
    outputs, targets = _read_outputs(problem, variables)
    inner: list[Target] = []
    logarithmic = to_logarithms(problem, parameters)
    for output, target in zip(outputs, targets, strict=True):
        if not isinstance(target, cp.Variable):
            raise UnsupportedError(
                f"{output.name} is asked for, but the dual variables of a geometric program are those of its convex "
                "form in logarithms. Leave it out, or write the problem in the logarithms of its variables."
            )
        inner.append(logarithmic.variable(target))
    read = tuple(
        dataclasses.replace(read_parameter(parameter), logarithmic=in_logarithms)
        for parameter, in_logarithms in zip(parameters, logarithmic.logarithmic, strict=True)
    )
    signature = Signature(read, tuple(dataclasses.replace(output, exponential=True) for output in outputs))
    return _compile_convex(logarithmic.problem, logarithmic.parameters, inner, signature, canon_backend)


def _read_outputs(problem: cp.Problem, variables: Sequence[Request]) -> tuple[tuple[Output, ...], list[Target]]:
    read = [read_output(problem, variable) for variable in variables]
    return tuple(output for output, _ in read), [target for _, target in read]


def _compile_convex(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    targets: Sequence[Target],
    signature: Signature,
    canon_backend: str | None,
) -> ParametricProgram:
    canonical = canonicalize(problem, canon_backend=canon_backend)
    vector = parameter_vector(canonical, problem, parameters)
    structure, data, constant = compile_data(canonical, vector)
    recovery = compile_recovery(canonical, targets)
    parametric = ParametricProgram(structure, signature, data, constant, recovery)
    verify(parametric, canonical, problem, parameters, targets)
    return parametric
