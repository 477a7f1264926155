"""The types of what a caller hands over, for annotations.

Only the type checker reads CVXPY for them: a program that loads its layers from files runs without CVXPY.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from optlayers.compiler import Problem, ProblemParameter, Request
else:
    Problem: TypeAlias = object
    ProblemParameter: TypeAlias = object
    Request: TypeAlias = object

__all__ = ["Problem", "ProblemParameter", "Request"]
