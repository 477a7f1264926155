"""With how many arguments a function can be called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any


def refusing_signature(function: Callable[..., Any], count: int, names: Sequence[str] = ()) -> inspect.Signature | None:
    """The function's signature where it cannot be called with `count` arguments, and further ones by these names; None
    where it can, or where Python does not know."""
    try:
        signature = inspect.signature(getattr(function, "forward", function))  # of a module, what it does
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*[None] * count, **dict.fromkeys(names))
    except TypeError:
        return signature
    return None
