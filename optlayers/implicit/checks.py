"""Checks of options: what was given, where, and what is expected.

Each raises `OptionError`. owner: the solver or function whose option it is; option: its name.
"""

from __future__ import annotations

import math
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

from optlayers.errors import OptionError
from optlayers.implicit.shown import shown
from optlayers.implicit.signatures import refusing_signature


def wrong(owner: str, option: str, value: object, expected: str) -> OptionError:
    """The error."""
    return OptionError(f"{owner}({option}={shown(value)}): {expected} is expected.")


def check_count(owner: str, option: str, value: object, least: int = 1) -> None:
    """Raise unless the value is an integer, `least` at least."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise wrong(owner, option, value, "a positive integer" if least == 1 else f"an integer from {least}")


def is_number(value: object) -> bool:
    """Whether it is a real number, not infinite or NaN, and not an array."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_positive(owner: str, option: str, value: Any) -> None:
    """Raise unless the value is a finite number above zero."""
    if not is_number(value) or not value > 0:
        raise wrong(owner, option, value, "a positive number")


def check_at_least(owner: str, option: str, value: Any, least: float, *, infinite: bool = False) -> None:
    """Raise unless the value is a number, `least` at least, and finite unless infinity is a choice."""
    without_limit = infinite and isinstance(value, Real) and value == math.inf
    if not without_limit and (not is_number(value) or not value >= least):
        raise wrong(owner, option, value, f"a number from {least:g}")


def check_between(owner: str, option: str, value: Any, low: float, high: float) -> None:
    """Raise unless the value is a number with low < value < high."""
    if not is_number(value) or not low < value < high:
        raise wrong(owner, option, value, f"a number between {low:g} and {high:g}")


def check_flag(owner: str, option: str, value: object) -> None:
    """Raise unless the value is True or False."""
    if not isinstance(value, bool):
        raise wrong(owner, option, value, "True or False")


def check_kind(owner: str, option: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise unless the value is an object of a class."""
    if not isinstance(value, kind):
        raise wrong(owner, option, value, expected)


def check_function(owner: str, option: str, value: Any, arguments: tuple[str, ...]) -> None:
    """Raise unless the value can be called with as many arguments."""
    called = f"a function ({', '.join(arguments)})"
    if not callable(value) or isinstance(value, type):
        raise wrong(owner, option, value, called)
    signature = refusing_signature(value, len(arguments))
    if signature is not None:
        raise OptionError(f"{owner}({option}={shown(value)}): {called} is expected, but it takes {signature}.")


def with_plain_numbers(options: Any) -> None:
    """Turn NumPy's numbers in the fields of a dataclass into Python's, which leave arrays their dtypes."""
    for field in fields(options):
        value = getattr(options, field.name)
        if isinstance(value, Integral):
            plain: object = value if isinstance(value, int) else int(value)
        else:
            plain = float(value) if isinstance(value, Real) else value
        object.__setattr__(options, field.name, plain)
