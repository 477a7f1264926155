"""Which iteration solves an equation where the user names none."""

from __future__ import annotations

from typing import Any

from optlayers.errors import OptionError
from optlayers.implicit.solvers.abstract import AbstractIteration
from optlayers.implicit.solvers.newton import Newton


def solver_of(choice: Any, kind: str, size: int) -> AbstractIteration:
    """The user's choice, or the default for equations of a kind with `size` unknowns an element."""
    if choice is None:
        return Newton()
    if isinstance(choice, AbstractIteration):
        return choice
    raise OptionError(f"solver={choice!r} is no solver.")
