"""What every front-end does to become a layer: compile the problem, choose the solver, read the arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from optlayers.backward import AbstractBackward, Homogeneous, choose_backward
from optlayers.errors import CostWarning, OptionError
from optlayers.kkt import Cost, SymmetricSystem
from optlayers.packages import needed
from optlayers.problem_types import Problem, ProblemParameter, Request
from optlayers.solution_map import ConeSolutionMap
from optlayers.solvers import AbstractSolver, Call, choose, read_arguments
from optlayers.user_warning import warn_user

ANNOUNCED_SECONDS = 0.5
"""Factorizations that take longer than this, by estimate, are announced."""

ANNOUNCED_BYTES = 1e9
"""So are factorizations that take more memory than this."""


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
    backward: str | AbstractBackward | None = None,
    derivative: str = "kkt",
) -> tuple[ConeSolutionMap, str]:
    """The solution map of a CVXPY problem, and why its solver was taken.

    parameters: the arguments of the layer, in order; every other parameter of the problem keeps its value of now.
    variables: the outputs, in order: variables, constraints (for their dual variables, in CVXPY's sign convention), or
        dual variables.
    solver: "OSQP", "SCS", "CLARABEL"; a solver object; or None, which chooses by structure.
    solver_args: cvxpylayers' spellings (eps, max_iters, solve_method, acceleration_lookback, n_jobs_forward,
        n_jobs_backward, mode, verbose) or the solver's own option names.
    gp: whether the problem is a geometric program (DGP).
    backward: the method that solves the linear systems of derivatives, by name ("sparse direct", "batched dense",
        "lsmr", "minimum norm", "smoothed") or as an object; or None, which chooses by size.
    derivative: the equations that are differentiated, "kkt" or "hsde" (the homogeneous self-dual residual map).
    canon_backend: CVXPY's canonicalization backend ("CPP", "SCIPY", "COO"), None for its choice.

    Raises `ProblemError` if the problem cannot be compiled, `VerificationError` if the result does not reproduce
    CVXPY's own data, `OptionError` for solvers, methods and options that do not exist, `MissingPackageError` without
    CVXPY. Warns `CostWarning` if one factorization takes long or much memory.
    """
    with needed("cvxpy", "compiling a problem"):
        from optlayers.compiler import compile_problem
    parametric = compile_problem(problem, parameters, variables, canon_backend, gp=gp)
    choice = choose(parametric.structure, solver)
    _require_mapping(solver_args)
    call = read_arguments(Call(choice.solver, choice.named, choice.direct), {"verbose": verbose, **(solver_args or {})})
    if call.backward is not None and backward is not None:
        raise OptionError("mode, in solver_args, and backward= both name the backward method. Leave one of them out.")
    call.solver.require(parametric.structure.cones)
    reason = choice.reason if call.solver.name == choice.solver.name else "as solver_args asks"
    system = SymmetricSystem(parametric.structure)
    method = choose_backward(system.cost, call.backward if backward is None else backward, derivative)
    _announce(system.cost)
    return ConeSolutionMap(parametric, call, system, backward=method), reason


def _announce(cost: Cost) -> None:
    if cost.seconds > ANNOUNCED_SECONDS or cost.bytes > ANNOUNCED_BYTES:
        warn_user(
            f"the optimality conditions of this problem are {cost}. A solve takes some three of them beside the "
            "solver's own work, a derivative one. Smaller semidefinite constraints cost less.",
            CostWarning,
        )


def with_arguments(solution_map: ConeSolutionMap, solver_args: Mapping[str, Any] | None) -> ConeSolutionMap:
    """The map with the `solver_args` of one call."""
    _require_mapping(solver_args)
    if not solver_args:
        return solution_map
    call = read_arguments(solution_map.call, solver_args)
    call.solver.require(solution_map.parametric.structure.cones)
    if "mode" not in solver_args:
        return dataclasses.replace(solution_map, call=call)
    derivative = "hsde" if isinstance(solution_map.backward, Homogeneous) else "kkt"
    method = choose_backward(solution_map.system.cost, call.backward, derivative)
    return dataclasses.replace(solution_map, call=call, backward=method)


def _require_mapping(solver_args: object) -> None:
    if not (solver_args is None or isinstance(solver_args, Mapping)):
        raise OptionError(f"solver_args must be a dictionary from names to values, not {solver_args!r}.")
