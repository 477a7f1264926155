"""What every front-end does to become a layer: compile the problem, choose the solver, read the arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from optlayers.compiler import Problem, ProblemParameter, Request, compile_problem
from optlayers.kkt import SymmetricSystem
from optlayers.solution_map import ConeSolutionMap
from optlayers.solvers import AbstractSolver, Call, choose, read_arguments


def construct(
    problem: Problem,
    parameters: Sequence[ProblemParameter],
    variables: Sequence[Request],
    solver: str | AbstractSolver | None = None,
    solver_args: Mapping[str, Any] | None = None,
    *,
    gp: bool = False,
    verbose: bool = False,
    canon_backend: str | None = None,
) -> tuple[ConeSolutionMap, str]:
    """The solution map of a CVXPY problem, and why its solver was taken.

    parameters: the arguments of the layer, in order; every other parameter of the problem keeps its value of now.
    variables: the outputs, in order: variables, constraints (for their dual variables, in CVXPY's sign convention), or
        dual variables.
    solver: "OSQP", "SCS", "CLARABEL"; a solver object; or None, which chooses by structure.
    solver_args: cvxpylayers' spellings (eps, max_iters, solve_method, acceleration_lookback, n_jobs_forward,
        n_jobs_backward, mode, verbose) or the solver's own option names.
    gp: whether the problem is a geometric program (DGP).
    canon_backend: CVXPY's canonicalization backend ("CPP", "SCIPY", "COO"), None for its choice.

    Raises `ProblemError` if the problem cannot be compiled, `VerificationError` if the result does not reproduce
    CVXPY's own data, `OptionError` for solvers and options that do not exist.
    """
    parametric = compile_problem(problem, parameters, variables, canon_backend, gp=gp)
    choice = choose(parametric.structure, solver)
    call = read_arguments(Call(choice.solver, choice.named, choice.direct), {"verbose": verbose, **(solver_args or {})})
    reason = choice.reason if call.solver.name == choice.solver.name else "as solver_args asks"
    return ConeSolutionMap(parametric, call, SymmetricSystem(parametric.structure)), reason


def with_arguments(solution_map: ConeSolutionMap, solver_args: Mapping[str, Any] | None) -> ConeSolutionMap:
    """The map with the `solver_args` of one call."""
    if not solver_args:
        return solution_map
    return dataclasses.replace(solution_map, call=read_arguments(solution_map.call, solver_args))
