"""The choices of a call, as they are given by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from optlayers.errors import OptionError
from optlayers.implicit.checks import check_count, check_flag, check_function
from optlayers.implicit.settings import Settings


def settings_of(name: str, given: Mapping[str, Any]) -> Settings:
    """The settings for root, fixed_point or argmin, as `name` says; return_info, which is none of them, is left out.

    Raises `OptionError` for names that do not exist, and for values that `check_settings` refuses.
    """
    known = [field.name for field in fields(Settings)]
    for option in given:
        if option not in (*known, RETURN_INFO):
            near = difflib.get_close_matches(option, known, n=1)
            meant = f" Did you mean {near[0]}=?" if near else ""
            raise OptionError(
                f"{name} has no option {option}=; the options are {', '.join((*known, RETURN_INFO))}.{meant}"
            )
    check_flag(name, RETURN_INFO, given.get(RETURN_INFO, False))
    settings = Settings(**{option: value for option, value in given.items() if option != RETURN_INFO})
    check_settings(name, settings)
    return settings


def check_settings(name: str, settings: Settings) -> None:
    """Raise `OptionError` for values that are wrong whatever the equation is; `plan` checks the others."""
    if settings.last is not None:
        check_count(name, "last", settings.last)
    check_flag(name, "checkpoint", settings.checkpoint)
    if settings.monitor is not None:
        check_function(name, "monitor", settings.monitor, ("info",))


RETURN_INFO = "return_info"
