"""The choices of a call: solvers, semantics, what is done about failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, final

from optlayers.errors import AccuracyWarning, ConvergenceError, DerivativeError, OptionError
from optlayers.implicit.equation import Equation
from optlayers.implicit.linear import ROUNDING, AbstractLinearSolver
from optlayers.implicit.names import member_of
from optlayers.implicit.policy import OnFailure, Policy
from optlayers.implicit.rule import Rule
from optlayers.implicit.solvers import AbstractIteration, linear_solver_of, solver_of
from optlayers.user_warning import warn_user


@final
class Semantics(Enum):
    """What is differentiated; `value` is the name at the front door."""

    IMPLICIT = "implicit"
    """The equation, at the solution: the derivative of the converged solution. Memory: z, z0 and theta."""
    UNROLLED = "unrolled"
    """The iterations that ran: the derivative of what was computed. Memory grows with their number."""
    ONE_STEP = "one_step"
    """One iteration, begun anew at the solution (Bolte, Pauwels, Vaiter 2023): a step in place of the solution of each
    linear system. It is the implicit derivative for Newton's method, and misses a part of about its rate for a linearly
    convergent iteration."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Settings:
    """The choices of a call, None for what the form of the equation decides.

    solver: an iteration, or a callable (F, z0) -> z on arrays (*B, n).
    backward: the solver of the derivative's linear systems, with "implicit".
    differentiate: "implicit", "unrolled" or "one_step" (`Semantics`).
    last: with "unrolled", how many of the last iterations are differentiated; None, all.
    checkpoint: with "unrolled", compute intermediate values of iterations again rather than keep them.
    on_failure: "raise", "warn" or "nan" (`OnFailure`), for the solution and for derivatives.
    monitor: called with the `LinearInfo` of every linear system of a derivative, as NumPy arrays.
    """

    solver: Any = None
    backward: Any = None
    differentiate: Semantics | str = Semantics.IMPLICIT
    last: int | None = None
    checkpoint: bool = False
    on_failure: OnFailure | str = OnFailure.RAISE
    monitor: Callable[[Any], None] | None = None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Settings, checked and complete, with the tolerances that stand in them, or for them."""

    solver: AbstractIteration
    tolerance: float
    backward: AbstractLinearSolver
    backward_tolerance: float
    semantics: Semantics
    last: int | None
    checkpoint: bool
    rule: Rule

    @property
    def mismatch(self) -> str:
        """What is to be said of the two tolerances, if anything."""
        coarse, fine = self.tolerance, self.backward_tolerance
        if self.semantics is not Semantics.IMPLICIT or coarse <= MISMATCH * fine:
            return ""
        return (
            f"{self.solver.name} stops at {coarse:.2g}, {self.backward.name} at {fine:.2g}: the derivative is that of "
            "a point that solves the equation much less accurately than the derivative's own system is solved. Give "
            "solver= a smaller tolerance, or backward= a larger one."
        )

    def warn_of_mismatch(self) -> None:
        """Warn of it, where there is one."""
        if self.mismatch:
            warn_user(self.mismatch, AccuracyWarning)


ADVICE = {
    Semantics.IMPLICIT: "Where the Jacobian is singular, the solution is no differentiable function of theta. "
    "Otherwise give another backward solver, more iterations, a preconditioner, or a larger tolerance; where the "
    "derivative is uncertain within the accuracy of z, the solver a smaller one.",
    Semantics.UNROLLED: "The Jacobian was nearly singular at an iteration that ran.",
    Semantics.ONE_STEP: "A step that does not contract says nothing of the derivative, and Newton's where the Jacobian "
    'is singular: take differentiate="implicit", or another solver.',
}
"""What the user can do where a derivative is not reliable."""

MISMATCH = 1e5
"""A solver's tolerance, by the backward solver's, above which a warning says that they do not fit together."""


def plan(settings: Settings, equation: Equation, size: int, eps: float) -> Plan:
    """The settings for an equation of `size` unknowns an element, in numbers of precision eps.

    Raises `OptionError` for those that do not fit.
    """
    solver = solver_of(settings.solver, equation.kind, size)
    semantics = member_of(Semantics, "differentiate", settings.differentiate)
    _check_semantics(settings, semantics, solver)
    one_step = semantics is Semantics.ONE_STEP
    backward = solver.linear_step() if one_step else linear_solver_of(settings.backward, equation.symmetric, size)
    on_failure = member_of(OnFailure, "on_failure", settings.on_failure)
    tolerance, backward_tolerance = solver.tolerance_at(eps), max(backward.tolerance, ROUNDING * eps)
    return Plan(
        solver=solver,
        tolerance=tolerance,
        backward=backward,
        backward_tolerance=backward_tolerance,
        semantics=semantics,
        last=settings.last,
        checkpoint=settings.checkpoint,
        rule=Rule(
            backward,
            Policy(
                on_failure,
                f"{equation.kind} was not solved by {solver.name} to its tolerance {tolerance:.2g}",
                "Give a better z0, more iterations (max_iterations=), another solver, or a larger tolerance; "
                "on_failure='warn' or 'nan' goes on all the same.",
                ConvergenceError,
            ),
            Policy(
                on_failure,
                f"the derivative of {equation.kind} is not reliable: its linear system, solved by {backward.name} "
                f"(tolerance {backward_tolerance:.2g})",
                ADVICE[semantics],
                DerivativeError,
                settings.monitor,
            ),
        ),
    )


def _check_semantics(settings: Settings, semantics: Semantics, solver: AbstractIteration) -> None:
    if semantics is not Semantics.IMPLICIT and settings.backward is not None:
        raise OptionError(f'backward= belongs to differentiate="implicit"; "{semantics.value}" has no use for it.')
    if semantics is not Semantics.UNROLLED and (settings.last is not None or settings.checkpoint):
        raise OptionError('last= and checkpoint= belong to differentiate="unrolled".')
    if semantics is Semantics.UNROLLED and not solver.differentiable_steps:
        raise OptionError(
            f'{solver.name} has no steps that could be differentiated; take differentiate="implicit" or another solver.'
        )
