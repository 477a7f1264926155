"""What is said where a function depends on a value from outside that needs a derivative."""

from __future__ import annotations

from optlayers.implicit.equation import Problem


def captured(problem: Problem, need: str, modules: str) -> str:
    """The message; need: why the value matters; modules: how the framework's modules pass their parameters."""
    return (
        f"the function given to {problem.equation.kind} uses a value from outside that {need}. Only z and theta are "
        f"differentiated, so that it would get none in silence: pass it through theta ({modules}), or detach it."
    )
