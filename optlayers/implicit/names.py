"""Choices by name at the front door."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeVar

from optlayers.errors import OptionError
from optlayers.implicit.shown import shown

Choice = TypeVar("Choice", bound=Enum)


def member_of(choices: type[Choice], option: str, choice: Any) -> Choice:
    """The choice, itself or by its name. Raises `OptionError`, naming the option, for one that does not exist."""
    try:
        return choices(choice)
    except ValueError:
        names = ", ".join(f'"{each.value}"' for each in choices)
        raise OptionError(f"{option}={shown(choice)} does not exist; the choices are {names}.") from None
