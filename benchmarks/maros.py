"""The Maros-Meszaros problems, solved and differentiated as single elements, below all front-ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.isolation import IsolationError, isolated
from benchmarks.maros_file import read_maros
from benchmarks.maros_result import MarosResult, heading, row, summarize
from benchmarks.record import write_records
from optlayers.exact_solve import ExactSolution, solve_exactly
from optlayers.kkt import Refinement, SymmetricSystem, differentiate, linearize, relative_residual
from optlayers.program import ConeProgram
from optlayers.solvers import AbstractSolver, choose

SEED = 0


def run_maros(folder: Path, solver: str | None, limit: float, target: Path | None, environment: dict[str, str]) -> None:
    """Run every .mat file of the folder, from the smallest, and print a line for each and a summary.

    limit: the seconds allowed for a problem.
    """
    files = sorted(folder.glob("*.mat"), key=lambda path: path.stat().st_size)
    if not files:
        raise SystemExit(f"there are no .mat files in {folder}")
    print(f"\nsolver: {solver or 'the choice of the package'}; at most {limit:g} s a problem\n{heading()}", flush=True)
    results = []
    for path in files:
        results.append(run_problem(path.stem, read_maros(path), solver, limit))
        print(row(results[-1]), flush=True)
        if target is not None:
            write_records(target, environment, [asdict(result) for result in results])
    print("\n" + summarize(results))


def run_problem(name: str, program: ConeProgram, solver: str | None, limit: float) -> MarosResult:
    """Solve, solve exactly, differentiate; what was not reached stays empty, with a remark why."""
    structure = program.structure
    found: dict[str, Any] = {}
    try:
        for fields in isolated(lambda: _measure(program, solver), limit):
            found.update(fields)
    except IsolationError as error:
        found["remark"] = str(error)
    return MarosResult(name, structure.n, structure.m, structure.P.size + structure.A.size, **found)


def _measure(program: ConeProgram, solver: str | None) -> Iterator[dict[str, Any]]:
    chosen, system = choose(program.structure, solver).solver, SymmetricSystem(program.structure)
    yield _solve(program, chosen)
    solution, fields = _solve_exactly(program, chosen, system)
    yield fields
    yield _differentiate(program, solution, system)


def _solve(program: ConeProgram, solver: AbstractSolver) -> dict[str, Any]:
    start = perf_counter()
    result = solver.solve(program, None)
    return {
        "solver_seconds": perf_counter() - start,
        "status": result.status.name,
        "iterations": result.iterations,
        "solver_residual": relative_residual(program, result.point),
    }


def _solve_exactly(
    program: ConeProgram, solver: AbstractSolver, system: SymmetricSystem
) -> tuple[ExactSolution, dict[str, Any]]:
    start = perf_counter()
    solution = solve_exactly(program, solver, system, Refinement())
    return solution, {
        "exact_seconds": perf_counter() - start,
        "exact_status": solution.report.status.name,
        "residual": solution.report.residual,
        "newton_steps": solution.report.newton_steps,
        "proximal_steps": solution.report.proximal_steps,
    }


def _differentiate(program: ConeProgram, solution: ExactSolution, system: SymmetricSystem) -> dict[str, Any]:
    rng = np.random.default_rng(SEED)
    data = np.concatenate([program.P_values, program.q, program.A_values, program.b])
    d = data * rng.standard_normal(len(data))
    g_x, g_y = (rng.standard_normal((1, size)) for size in (program.structure.n, program.structure.m))
    start = perf_counter()
    with differentiate(system, linearize(program, solution.x, solution.v)) as derivative:
        dx, dy, ahead = derivative.jvp(d[None])
        g_data, back = derivative.vjp(g_x, g_y)
    seconds = perf_counter() - start
    along, against = float((g_x * dx).sum() + (g_y * dy).sum()), float(g_data[0] @ d)
    return {
        "derivative_seconds": seconds,
        "adjoint_error": abs(along - against) / max(abs(along), abs(against), np.finfo(float).tiny),
        "linear_residual": max(ahead.residual, back.residual),
        "singular": ahead.singular or back.singular,
    }
