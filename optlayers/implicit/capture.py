"""What is said where a function depends on a value from outside that needs a derivative."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from optlayers.implicit.equation import Problem


def captured(problem: Problem, need: str, modules: str, needs: Callable[[Any], bool]) -> str:
    """The message; need: why the value matters; modules: how the framework's modules pass their parameters; needs:
    whether it matters of an object."""
    own = {id(leaf) for leaf in problem.theta[: len(problem.theta) - problem.captured]}
    found = reachable(problem.equation.function)
    names = [f"'{name}'" for name, value in found if id(value) not in own and needs(value)]
    shown = f", {', '.join(names[:MOST_SHOWN])}{' and others' if len(names) > MOST_SHOWN else ''}," if names else ""
    return (
        f"the function given to {problem.equation.kind} uses a value from outside{shown} that {need}. Only z and theta "
        f"are differentiated, so that it would get none in silence: pass it through theta ({modules}), or detach it."
    )


def reachable(function: Any) -> Iterator[tuple[str, Any]]:
    """The objects that a function can take from outside, by the names that it has for them: closures, globals,
    defaults, attributes, entries; to a depth at which names still say something."""
    seen: set[int] = set()
    objects = [("", function)]
    for _ in range(DEPTH):
        found = [child for name, value in objects for child in _children(name, value)]
        objects = []
        for name, value in found:
            if id(value) not in seen and len(seen) < MOST_VISITED:
                seen.add(id(value))
                objects.append((name, value))
                yield name, value


def _children(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (ModuleType, type, str, bytes)) or hasattr(value, "dtype"):
        return
    if isinstance(value, functools.partial):
        yield name, value.func
        yield from (("partial's argument", argument) for argument in value.args)
        yield from value.keywords.items()
    elif inspect.ismethod(value):
        yield name, value.__func__
        yield "self", value.__self__
    elif inspect.isfunction(value):
        yield from _of_function(value)
    elif isinstance(value, dict):
        yield from ((f"{name}[{key!r}]", entry) for key, entry in value.items())
    elif isinstance(value, (tuple, list)):
        yield from ((f"{name}[{place}]", entry) for place, entry in enumerate(value))
    elif hasattr(value, "__dict__"):
        yield from _of_object(f"{name}." if name else "", value)


def _of_function(function: Any) -> Iterator[tuple[str, Any]]:
    try:
        outside = inspect.getclosurevars(function)
    except ValueError:  # a cell that is not filled yet
        return
    yield from outside.nonlocals.items()
    yield from outside.globals.items()
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is not parameter.empty:
            yield parameter.name, parameter.default


def _of_object(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(value, "named_parameters"):
        yield from ((prefix + name, parameter) for name, parameter in value.named_parameters())
        yield from ((prefix + name, module) for name, module in value.named_children())
        yield "", type(value).forward
    elif callable(value):
        yield "", type(value).__call__
    yield from ((prefix + name, entry) for name, entry in vars(value).items() if not name.startswith("_"))


DEPTH = 4
"""How many steps from the function a captured value is looked for."""

MOST_VISITED = 10_000
"""Most objects that are looked at for it."""

MOST_SHOWN = 3
"""Most names that a message lists."""
