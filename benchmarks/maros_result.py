"""What is known of one Maros-Meszaros problem, and of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

ACCURATE = 1e-9
"""Largest relative KKT residual, and largest adjoint error, that the summary counts as reached."""

ROUNDING = 1e-12
"""Largest relative KKT residual that the summary counts as reached to rounding."""

COLUMNS = "n m nonzeros its residual refined newton prox adjoint linear singular solver/s exact/s deriv/s".split()


@final
@dataclass(frozen=True)
class MarosResult:
    """One problem.

    status, iterations, solver_residual, solver_seconds: of the solver alone.
    exact_status, residual, newton_steps, proximal_steps, exact_seconds: of solving exactly, from the beginning.
    adjoint_error: |<g, J d> - <J'g, d>| / max of the two, for a random change d of the data, relative to their size,
        and random g of the solution.
    linear_residual, singular: of the two products, as the derivative reports.
    remark: why numbers are missing.
    """

    name: str
    n: int
    m: int
    nonzeros: int
    status: str = "-"
    iterations: int = 0
    solver_residual: float = np.nan
    solver_seconds: float = np.nan
    exact_status: str = "-"
    residual: float = np.nan
    newton_steps: int = 0
    proximal_steps: int = 0
    exact_seconds: float = np.nan
    adjoint_error: float = np.nan
    linear_residual: float = np.nan
    singular: bool = False
    derivative_seconds: float = np.nan
    remark: str = ""


def heading() -> str:
    """The names of the columns of `row`."""
    return _line("problem", "solver", COLUMNS)


def row(result: MarosResult) -> str:
    """The line of a problem; its status is the solver's, and the final one where that is no solution."""
    final_status = "" if result.exact_status in ("SOLVED", "-") else f"; finally {result.exact_status}"
    counts = (result.n, result.m, result.nonzeros)
    cells = [
        *(str(each) for each in counts),
        str(result.iterations),
        f"{result.solver_residual:.0e}",
        f"{result.residual:.0e}",
        str(result.newton_steps),
        str(result.proximal_steps),
        f"{result.adjoint_error:.0e}",
        f"{result.linear_residual:.0e}",
        "yes" if result.singular else "",
        *(f"{each:.3f}" for each in (result.solver_seconds, result.exact_seconds, result.derivative_seconds)),
    ]
    return f"{_line(result.name, result.status, cells)} {result.remark}{final_status}".rstrip()


def summarize(results: Sequence[MarosResult]) -> str:
    """How many problems reached what."""
    total = len(results)
    by_solver = sum(result.solver_residual <= ACCURATE for result in results)
    accurate = sum(result.residual <= ACCURATE for result in results)
    to_rounding = sum(result.residual <= ROUNDING for result in results)
    adjoint = sum(result.adjoint_error <= ACCURATE for result in results)
    singular = sum(result.singular for result in results)
    missed = [f"{result.name} ({result.residual:.0e})" for result in results if not result.residual <= ACCURATE]
    unequal = [f"{each.name} ({each.adjoint_error:.0e})" for each in results if not each.adjoint_error <= ACCURATE]
    lines = [
        f"relative KKT residual at most {ACCURATE:g}: {accurate} of {total} ({by_solver} by the solver alone); at most "
        f"{ROUNDING:g}: {to_rounding}",
        f"not reached: {', '.join(missed) or 'none'}",
        f"adjoint identity to {ACCURATE:g}: {adjoint} of {total}; singular derivatives reported: {singular}",
        f"not reached: {', '.join(unequal) or 'none'}",
    ]
    return "\n".join(lines)


def _line(name: str, status: str, cells: Sequence[str]) -> str:
    return f"{name:<9} {status:<15}" + "".join(f" {cell:>8}" for cell in cells)
