"""What may go wrong, and the text that the user reads when it does.

Every failure of the package is an `OptLayersError` or an `OptLayersWarning`. The message says what was given,
what was expected, the usual cause and the next step, and names the parameter, the constraint or the batch index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import final

Index = tuple[int, ...]


@final
class Status(Enum):
    """How a forward solve ended; one set for all solvers.

    `value` is the text that messages print.
    """

    SOLVED = "solved"
    INACCURATE = "solved, but not to the requested accuracy"
    INFEASIBLE = "infeasible: no point satisfies the constraints"
    UNBOUNDED = "unbounded: the objective decreases without end (the dual is infeasible)"
    ITERATION_LIMIT = "stopped at the iteration limit"
    TIME_LIMIT = "stopped at the time limit"
    NONCONVEX = "not convex: P has a negative eigenvalue"
    NUMERICAL_ERROR = "stopped by a numerical error"
    DIVERGED = "diverged: the residual grew without bound, or is not a number"
    SINGULAR = "singular: the linear system has no unique solution"
    STAGNATED = "stagnated: the residual no longer decreases"
    NO_SIGN_CHANGE = "no root is bracketed: the function has the same sign, or no value, at both ends"
    UNSOLVED = "not solved: the residual is above the tolerance"
    NOT_FINITE = "not finite at the initial point"

    @property
    def has_point(self) -> bool:
        """Whether a usable point comes with the status."""
        return self in (Status.SOLVED, Status.INACCURATE)


class OptLayersError(Exception):
    """Base of all errors of the package."""


class OptLayersWarning(UserWarning):
    """Base of all warnings of the package."""


class ProblemError(OptLayersError, ValueError):
    """The CVXPY problem cannot be compiled."""


@final
class NotConvexError(ProblemError):
    """The problem does not follow the rules of disciplined convex programming (DCP)."""


@final
class NotDPPError(ProblemError):
    """The problem is convex, but its data are not affine in the parameters (DPP)."""


@final
class MixedIntegerError(ProblemError):
    """The problem has integer or boolean variables: its solution map is piecewise constant."""


@final
class UnsupportedError(ProblemError):
    """The problem has a feature that this version does not compile (a cone, a complex variable)."""


@final
class MissingValueError(ProblemError):
    """A parameter that is not passed to the layer has no value in CVXPY."""


@final
class VerificationError(OptLayersError, RuntimeError):
    """The compiled maps do not reproduce CVXPY's own problem data."""


@final
class ArgumentError(OptLayersError, ValueError):
    """An argument of a call has the wrong count, shape, dtype or value."""


@final
class OptionError(OptLayersError, TypeError):
    """A solver, or an option of a solver, that does not exist or cannot be honoured."""


@final
class DerivativeError(OptLayersError, RuntimeError):
    """A derivative that does not exist here, or that could not be computed."""


@final
class StorageError(OptLayersError, ValueError):
    """A file that is no saved layer, is damaged or of another version; or a layer that a file cannot hold."""


@final
class MissingPackageError(OptLayersError, ImportError):
    """A package that this step needs is not installed."""


@final
@dataclass(frozen=True)
class ElementFailure:
    """One element of a batch that was not solved: where, how, and what the solver said of it."""

    batch_index: Index
    status: Status
    detail: str

    def __str__(self) -> str:
        where = f"batch index {self.batch_index}: " if self.batch_index else ""
        return f"{where}{self.status.value} ({self.detail})"


@final
class SolveError(OptLayersError, RuntimeError):
    """One or more elements of a batch have no solution, or none was found; `failures` lists them."""

    def __init__(self, failures: Sequence[ElementFailure]) -> None:
        shown = "\n".join(f"  {failure}" for failure in failures[:MOST_FAILURES_SHOWN])
        rest = len(failures) - MOST_FAILURES_SHOWN
        more = f"\n  and {rest} more" if rest > 0 else ""
        limited = any(failure.status is Status.ITERATION_LIMIT for failure in failures)
        limit = " Raise the limit (solver_args={'max_iters': ...}) or take another solver." if limited else ""
        super().__init__(
            f"the problem could not be solved for {len(failures)} of the given parameter values:\n{shown}{more}\n"
            "Check these parameter values, or solve the CVXPY problem with them to see more." + limit
        )
        self.failures = tuple(failures)


@final
class ConvergenceError(OptLayersError, RuntimeError):
    """An equation was not solved, for one or more elements of a batch."""


@final
class CaptureError(OptLayersError, ValueError):
    """A function captured from outside a value that needs a gradient, which would get none."""


@final
class AccuracyWarning(OptLayersWarning):
    """A returned point misses the requested accuracy."""


@final
class CostWarning(OptLayersWarning):
    """A layer whose solves and derivatives take long or much memory, by estimate; said before anything is computed."""


@final
class SingularWarning(OptLayersWarning):
    """The derivative does not exist: a documented choice was returned (docs/mathematics.md, "Degeneracy")."""


MOST_FAILURES_SHOWN = 10
