"""The `solver_args` of a layer: spellings known from cvxpylayers, and the solver's own options."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, final

import numpy as np

from optlayers.cones import Nonnegative, Product
from optlayers.errors import MissingPackageError, OptionError, Status
from optlayers.parallel import available_cores
from optlayers.program import ConeProgram, Pattern, Structure
from optlayers.solvers.abstract import AbstractSolver
from optlayers.solvers.choice import SOLVERS
from optlayers.solvers.scs import SCS

EXACT_MODES = {"lsqr": "lsmr", "lsmr": "lsmr", "dense": "batched dense"}
"""Values of `mode`, which name a linear solver for derivatives, with the names of the backward methods that have it."""

SPELLINGS = (
    "accuracy",
    "eps",
    "max_iterations",
    "max_iters",
    "mode",
    "n_jobs_backward",
    "n_jobs_forward",
    "solve_method",
    "verbose",
)
"""What `solver_args` takes with every solver."""


@final
@dataclass(frozen=True)
class Call:
    """How the elements of a batch are solved and differentiated.

    solver_named: whether the caller named the solver; if not, an option that only SCS has asks for SCS.
    direct: whether a direct solution comes first (`optlayers.exact_solve`), and the solver only where it fails.
    backward: the name of the backward method that `mode` asks for, or None.
    forward_threads, backward_threads: most elements at work at a time; None chooses by size.
    """

    solver: AbstractSolver
    solver_named: bool = True
    direct: bool = False
    backward: str | None = None
    forward_threads: int | None = None
    backward_threads: int | None = None


def read_arguments(call: Call, arguments: Mapping[str, Any]) -> Call:
    """`call` with `solver_args` applied: each is translated or refused with an `OptionError`, never ignored."""
    solver = call.solver
    if "solve_method" in arguments:
        solver = _solve_method(solver, arguments["solve_method"])
    elif "acceleration_lookback" in arguments and not call.solver_named:
        solver = _solve_method(solver, SCS.name)
    options: dict[str, object] = {}
    for name, value in arguments.items():
        match name:
            case "solve_method":
                pass
            case "accuracy" | "eps":
                solver = dataclasses.replace(solver, accuracy=_number(name, value))
            case "max_iterations" | "max_iters":
                solver = dataclasses.replace(solver, max_iterations=_count(name, value))
            case "verbose":
                solver = dataclasses.replace(solver, verbose=bool(value))
            case "n_jobs_forward":
                call = dataclasses.replace(call, forward_threads=_threads(name, value))
            case "n_jobs_backward":
                call = dataclasses.replace(call, backward_threads=_threads(name, value))
            case "mode":
                call = dataclasses.replace(call, backward=_backward(value))
            case "acceleration_lookback" if name not in solver.option_names():
                raise OptionError(
                    f"acceleration_lookback is an option of SCS; the solver of this layer is {solver.name}."
                )
            case _:
                options[name] = value
    if solver.name != call.solver.name:
        call = dataclasses.replace(call, direct=False)
    for name in options:
        if name in solver.option_names():
            continue
        owners = [other for other, kind in SOLVERS.items() if name in kind.option_names()]
        if owners:
            raise OptionError(
                f"{name} is an option of {' and '.join(owners)}; the solver of this layer is {solver.name}. Name the "
                "solver that you want, or leave the option out."
            )
        near = difflib.get_close_matches(name, [*SPELLINGS, *sorted(solver.option_names())], n=1)
        if near and near[0] in SPELLINGS:
            raise OptionError(f"{solver.name} has no option '{name}'. Did you mean {near[0]}?")
    if options:
        solver = solver.with_options(options)
        try_out(solver)
    return dataclasses.replace(call, solver=solver)


def try_out(solver: AbstractSolver) -> None:
    """Raise `OptionError` unless the solver takes the values of its options: with them it solves a tiny program."""
    one, none = np.ones(1, dtype=np.int32), np.zeros(1, dtype=np.int32)
    pattern, _ = Pattern.from_positions((1, 1), none, none)
    structure = Structure(pattern, pattern, Product((Nonnegative(1),)))
    try:
        result = dataclasses.replace(solver, verbose=False).solve(
            ConeProgram(structure, np.ones(1), np.zeros(1), np.ones(1), one.astype(np.float64)), None
        )
    except MissingPackageError:
        raise
    except Exception as error:
        raise OptionError(f"{solver.name} does not take the options {dict(solver.options)}: {error}") from error
    if result.status is Status.NUMERICAL_ERROR:
        raise OptionError(f"{solver.name} does not take the options {dict(solver.options)}: {result.detail}")


def _solve_method(solver: AbstractSolver, method: object) -> AbstractSolver:
    name = str(method).upper()
    if name == solver.name:
        return solver
    if name in SOLVERS:
        return SOLVERS[name](verbose=solver.verbose)
    raise OptionError(f"solve_method={method!r} is not available; the solvers are {', '.join(SOLVERS)}.")


def _backward(mode: object) -> str:
    if str(mode).lower() not in EXACT_MODES:
        raise OptionError(
            f"mode={mode!r} is not available: derivatives are those of the solution. Leave mode out and choose the "
            f"method by backward=, or give one of {', '.join(EXACT_MODES)}."
        )
    return EXACT_MODES[str(mode).lower()]


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise OptionError(f"{name} must be a number, not {value!r}.")
    return float(value)


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value).is_integer():
        raise OptionError(f"{name} must be a whole number, not {value!r}.")
    return int(float(value))


def _threads(name: str, value: object) -> int | None:
    if value is None:
        return None
    if value == -1:
        return available_cores()
    count = _count(name, value)
    if count < 1:
        raise OptionError(f"{name} must be at least 1, or -1 for one thread a core; it is {value!r}.")
    return count
