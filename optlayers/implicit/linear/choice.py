"""Which method solves the linear systems of derivatives where the user names none."""

from __future__ import annotations

from typing import Any

from optlayers.errors import OptionError
from optlayers.implicit.linear.abstract import AbstractLinearSolver
from optlayers.implicit.linear.lu import LU


def linear_solver_of(choice: Any, symmetric: bool, size: int) -> AbstractLinearSolver:
    """The user's choice, or the default for systems of `size` unknowns."""
    if choice is None:
        return LU()
    if isinstance(choice, AbstractLinearSolver):
        if choice.symmetric_only and not symmetric:
            raise OptionError(f"backward={choice.name} solves symmetric systems only, those of argmin.")
        return choice
    raise OptionError(f"backward={choice!r} is no solver of linear systems.")
