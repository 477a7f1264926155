"""Whether a value is of a field's declared type."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Union

import numpy as np


@cache
def field_types(cls: type) -> dict[str, Any]:
    """The declared type of each field that the class is constructed from."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls) if field.init}


def conforms(value: object, declared: Any) -> bool:
    """Whether the value is of the declared type: tuples and mappings item by item, arrays by dtype and axes.

    A bool is no int, an int is a float.
    """
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if declared in (bool, int, float, str):
        return type(value) in ((float, int) if declared is float else (declared,))
    if declared is object or declared is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(conforms(value, each) for each in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and _items_conform(value, arguments)
    if origin is np.ndarray:
        return isinstance(value, np.ndarray) and value.dtype == typing.get_args(arguments[1])[0]
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            conforms(part, each) for item in value.items() for part, each in zip(item, arguments, strict=True)
        )
    return isinstance(value, declared)


def _items_conform(value: tuple[object, ...], declared: tuple[Any, ...]) -> bool:
    if len(declared) == 2 and declared[1] is Ellipsis:
        distinct = {id(item): item for item in value}.values()  # equal items of a run are one object
        return all(conforms(item, declared[0]) for item in distinct)
    return len(value) == len(declared) and all(map(conforms, value, declared))
