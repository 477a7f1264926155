"""The equation that a layer's output solves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from optlayers.implicit.framework import Array, Framework
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.policy import Policy

Theta = tuple[Any, ...]
"""The leaves of the parameters."""


@final
@dataclass(frozen=True, eq=False)
class Equation:
    """F(z, theta) = 0 for every element of a batch: z (*B, n), theta any arrays, F(z, theta) (*B, n).

    An element's residual depends on its own z only. kind: "root", "fixed_point" (F = z - g) or "argmin" (F is the
    gradient of phi, and `objective` phi itself, (*B)), as messages name it. function: the user's, for messages.
    """

    kind: str
    residual: Callable[[Array, Theta], Array]
    objective: Callable[[Array, Theta], Array] | None = None
    function: Callable[..., Any] | None = None

    @property
    def symmetric(self) -> bool:
        """Whether the derivative by z is."""
        return self.objective is not None


@final
@dataclass(frozen=True, eq=False)
class Problem:
    """An equation at given parameters, in a framework.

    captured: how many of the last leaves of theta are no parameters of the user's, but values that the function took
    from outside; they have no derivatives.
    policy: judges the linear systems of derivatives of an iteration's steps, where these are differentiated.
    """

    framework: Framework
    equation: Equation
    theta: Theta
    captured: int = 0
    policy: Policy | None = None

    def at(self, theta: Sequence[Any]) -> Problem:
        """The same equation at other parameters."""
        return replace(self, theta=tuple(theta))

    @property
    def xp(self) -> Any:
        """The framework's arrays."""
        return self.framework.xp

    def residual(self, z: Array) -> Array:
        """F(z, theta)"""
        return self.equation.residual(z, self.theta)

    def objective(self, z: Array) -> Array:
        """phi(z, theta)"""
        assert self.equation.objective is not None
        return self.equation.objective(z, self.theta)

    def derivative(self, z: Array) -> LinearOperator:
        """J_z(z, theta), never formed."""
        return LinearOperator.of(self.framework, self.residual, z)

    def constant(self) -> Problem:
        """The same, with parameters that have no derivatives."""
        return self.at(self.framework.constant(self.theta))
