"""Warnings that point at the user's line."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

from optlayers.errors import OptLayersWarning

_PACKAGE = str(Path(__file__).parent)


def warn_user(message: str, category: type[OptLayersWarning]) -> None:
    """Warn at the innermost caller outside the package."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
