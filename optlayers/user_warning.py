"""Warnings that point at the user's line."""

from __future__ import annotations

import inspect
import warnings

from optlayers.errors import OptLayersWarning

CALLERS = frozenset({"optlayers", "jaxtyping", "torch", "jax", "jaxlib", "equinox", "flax"})
"""Packages between the user's line and the work: were warnings to point at these, the first would hide the others."""


def warn_user(message: str, category: type[OptLayersWarning]) -> None:
    """Warn at the innermost caller outside the package and the frameworks; where there is none, in a thread of theirs,
    at the package's own line."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in CALLERS:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=1 if frame is None else level)
