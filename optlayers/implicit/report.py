"""How solves ended: statuses, residuals and iterations of each element, as arrays."""

from __future__ import annotations

from typing import NamedTuple, final

from optlayers.errors import Status
from optlayers.implicit.framework import Array

STATUSES = tuple(Status)
"""A status in an array is its place in this list."""

RUNNING = -1
"""In place of a status, while an element is iterated."""

SOLVED = STATUSES.index(Status.SOLVED)
INACCURATE = STATUSES.index(Status.INACCURATE)
ITERATION_LIMIT = STATUSES.index(Status.ITERATION_LIMIT)
DIVERGED = STATUSES.index(Status.DIVERGED)
NUMERICAL_ERROR = STATUSES.index(Status.NUMERICAL_ERROR)
SINGULAR = STATUSES.index(Status.SINGULAR)
STAGNATED = STATUSES.index(Status.STAGNATED)
NO_SIGN_CHANGE = STATUSES.index(Status.NO_SIGN_CHANGE)
UNSOLVED = STATUSES.index(Status.UNSOLVED)
NOT_FINITE = STATUSES.index(Status.NOT_FINITE)


@final
class Info(NamedTuple):
    """How the solution of each element of the batch *B was found.

    status: (*B) places in `STATUSES`.
    residual: (*B) the norm that was stopped at: |F(z, theta)|, the largest entry.
    iterations: (*B) how many the element took.
    contraction: (*B) the factor by which the last iterations changed the residual, a geometric mean; for the undamped
        fixed-point iteration it estimates the spectral radius of g's derivative. NaN before the first iteration.
    """

    status: Array
    residual: Array
    iterations: Array
    contraction: Array

    @property
    def solved(self) -> Array:
        """(*B) whether a solution was found; one as accurate as the numbers allow, above the tolerance, counts, with a
        warning."""
        return (self.status == SOLVED) | (self.status == INACCURATE)


@final
class LinearInfo(NamedTuple):
    """How the solution of each linear system of the batch *B was found.

    status: (*B) places in `STATUSES`.
    residual: (*B) |J u - rhs|, the Euclidean norm.
    iterations: (*B) products with J, or steps, as the method counts them.
    condition: (*B) the estimated condition number of J, from below; NaN where the method does not estimate it.
    uncertainty: (*B) by which part of itself the derivative changes within the accuracy of z; 0 where z is so accurate
        that it was not computed. See `optlayers.implicit.uncertainty`.
    """

    status: Array
    residual: Array
    iterations: Array
    condition: Array
    uncertainty: Array = 0.0

    @property
    def solved(self) -> Array:
        """(*B) whether the system was solved to its tolerance; an ill-conditioned one counts, with a warning."""
        return (self.status == SOLVED) | (self.status == INACCURATE)


DOUBT = 0.1
"""The part of itself by which a derivative may change within the accuracy of its point before a warning says so."""
