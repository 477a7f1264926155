"""Options as text, in messages and in what objects print of themselves."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any, final


def shown(value: object) -> str:
    """The value in one line; of an array, its shape only."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<{type(value).__name__} of shape {tuple(value.shape)}>"
    if isinstance(value, Enum):
        return repr(value.value)
    if callable(value) and hasattr(value, "__name__"):
        return f"<function {value.__name__}>"
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"<{type(value).__name__}>"


@final
class Word(str):
    """A text that shows itself without quotes, in the place of a leaf of a tree."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def chosen(options: Any) -> str:
    """A dataclass with those of its fields that differ from their defaults: Newton(tolerance=1e-08)."""
    given = [(field.name, getattr(options, field.name)) for field in fields(options) if not _is_default(options, field)]
    return f"{type(options).__name__}({', '.join(f'{name}={shown(value)}' for name, value in given)})"


def _is_default(options: Any, field: Field[Any]) -> bool:
    value = getattr(options, field.name)
    if field.default_factory is not MISSING:
        return bool(value == field.default_factory())
    return value is field.default or (isinstance(value, (bool, int, float, str, Enum)) and value == field.default)


LONGEST = 200
"""Characters of a text in one line."""
