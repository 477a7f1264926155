"""What happens where an equation, or the linear system of its derivative, is not solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, final

import numpy as np

from optlayers.errors import (
    AccuracyWarning,
    ConvergenceError,
    DerivativeError,
    ElementFailure,
    SingularWarning,
)
from optlayers.implicit.report import DOUBT, INACCURATE, NOT_FINITE, STATUSES, Info, LinearInfo
from optlayers.user_warning import warn_user


@final
class OnFailure(Enum):
    """What is done about elements that were not solved; `value` is the name at the front door."""

    RAISE = "raise"
    """Raise an error that names them."""
    WARN = "warn"
    """Warn, and return what was found."""
    NAN = "nan"
    """Return NaN for them, and for them only."""


@final
@dataclass(frozen=True, eq=False)
class Policy:
    """What is done about failures of one solve, and what is said of them.

    subject: what was solved, and by which method, as the message begins.
    advice: what the user can do, as it ends.
    error: the error to raise.
    monitor: called with the report of every solve, as NumPy arrays.
    """

    on_failure: OnFailure
    subject: str
    advice: str
    error: type[ConvergenceError] | type[DerivativeError]
    monitor: Callable[[Any], None] | None = None

    def review(self, info: Info | LinearInfo) -> None:
        """Say what has to be said of a solve, given its report as NumPy arrays: raise, warn, or nothing."""
        if self.monitor is not None:
            self.monitor(info)
        failed = np.asarray(~info.solved)
        if failed.any() and self.on_failure is not OnFailure.NAN:
            message = self._message(info, failed)
            if self.on_failure is OnFailure.RAISE:
                raise self.error(message)
            warn_user(message, AccuracyWarning)
        doubtful = np.asarray(info.status == INACCURATE)
        if doubtful.any():
            warn_user(self._message(info, doubtful), SingularWarning if _nearly_singular(info) else AccuracyWarning)

    def remarkable(self, info: Info | LinearInfo) -> Any:
        """(*B) of which solves something is said."""
        doubtful = info.status == INACCURATE
        return doubtful if self.on_failure is OnFailure.NAN else doubtful | ~info.solved

    def _message(self, info: Info | LinearInfo, which: Any) -> str:
        failures = [_failure(info, index) for index in np.ndindex(which.shape) if which[index]]
        shown = "\n".join(f"  {failure}" for failure in failures[:MOST_SHOWN])
        more = f"\n  and {len(failures) - MOST_SHOWN} more" if len(failures) > MOST_SHOWN else ""
        return f"{self.subject}, for {len(failures)} of {which.size}:\n{shown}{more}\n{self.advice}"


def _failure(info: Info | LinearInfo, index: tuple[int, ...]) -> ElementFailure:
    detail = f"residual {info.residual[index]:.1e} after {info.iterations[index]} iterations"
    if isinstance(info, LinearInfo):
        condition = info.condition[index]
        detail += f", condition number above {condition:.0e}" if not np.isnan(condition) else ""
        change = np.broadcast_to(info.uncertainty, info.status.shape)[index]
        if info.status[index] == INACCURATE and change > DOUBT:
            amount = f"changes by {change:.0%}" if np.isfinite(change) else "is undetermined"
            detail += f"; the derivative {amount} within the accuracy of z"
    elif info.status[index] == NOT_FINITE:
        detail = "F is infinite or NaN at z0; z0 or theta may hold such numbers, or z0 lie where F has no value"
    elif info.contraction[index] >= 1:
        detail += f", which grew by {info.contraction[index]:.3g} an iteration: no contraction"
    return ElementFailure(index, STATUSES[info.status[index]], detail)


def _nearly_singular(info: Info | LinearInfo) -> bool:
    """Whether half of the digits are lost, as far as the condition was estimated, or all of them may be."""
    if not isinstance(info, LinearInfo):
        return False
    eps = np.finfo(np.asarray(info.condition).dtype).eps
    return bool((np.asarray(info.condition) > eps**-0.5).any() or (np.asarray(info.uncertainty) > DOUBT).any())


MOST_SHOWN = 5
"""Most elements that a message lists."""
