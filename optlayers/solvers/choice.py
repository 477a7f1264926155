"""Which solver solves a structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from optlayers.cones import Zero
from optlayers.errors import OptionError
from optlayers.program import Structure
from optlayers.solvers.abstract import AbstractSolver
from optlayers.solvers.clarabel import Clarabel
from optlayers.solvers.osqp import OSQP
from optlayers.solvers.scs import SCS

SOLVERS: dict[str, type[OSQP] | type[SCS] | type[Clarabel]] = {solver.name: solver for solver in (OSQP, SCS, Clarabel)}


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """The solver of a layer, why it was taken, and whether the caller named it.

    direct: whether a direct solution comes first, and the solver only where it fails.
    """

    solver: AbstractSolver
    reason: str
    named: bool
    direct: bool


def choose(structure: Structure, solver: str | AbstractSolver | None) -> Choice:
    """The named or given solver, or by structure if None; `OptionError` if it is unknown or cannot take a cone."""
    if solver is None:
        return _by_structure(structure)
    if isinstance(solver, str):
        if solver.upper() not in SOLVERS:
            raise OptionError(f"there is no solver '{solver}'; the solvers are {', '.join(SOLVERS)}.")
        solver = SOLVERS[solver.upper()]()
    if not isinstance(solver, AbstractSolver):
        raise OptionError(
            f"solver must be a name ({', '.join(SOLVERS)}), a solver object such as OSQP(accuracy=1e-6), or None; "
            f"it is {solver!r}."
        )
    solver.require(structure.cones)
    return Choice(solver, "as given", named=True, direct=False)


def _by_structure(structure: Structure) -> Choice:
    cones = [run.cone for run in structure.cones.runs]
    if all(isinstance(cone, Zero) for cone in cones):
        why = "no inequalities: the optimality conditions are linear equations, solved directly; else CLARABEL"
        return Choice(Clarabel(), why, named=False, direct=True)
    if all(OSQP.refuses(cone) is None for cone in cones):
        why = "inequalities: the most reliable on linear and quadratic programs"
        return Choice(Clarabel(), why, named=False, direct=False)
    if any(Clarabel.refuses(cone) for cone in cones):
        SCS().require(structure.cones)
        return Choice(SCS(), "cones that only SCS has", named=False, direct=False)
    why = "conic constraints: an interior-point method takes few iterations on every kind of cone"
    return Choice(Clarabel(), why, named=False, direct=False)
