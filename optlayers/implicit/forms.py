"""The three forms in which an equation is written: a root, a fixed point, a stationary point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optlayers.errors import ArgumentError
from optlayers.implicit.equation import Equation, Theta
from optlayers.implicit.framework import Array, Framework
from optlayers.implicit.layout import Layout
from optlayers.implicit.shown import shown

UserFunction = Callable[[Any, Any], Any]
"""F, g or phi of trees z and theta."""

Rebuild = Callable[[Sequence[Any]], Any]


def root_equation(framework: Framework, F: UserFunction, layout: Layout, rebuild: Rebuild) -> Equation:
    """F(z, theta) = 0"""

    def residual(z: Array, theta: Theta) -> Array:
        return layout.ravel(F(layout.unravel(z), rebuild(theta)), "the value of F")

    return Equation("root", residual, function=F)


def fixed_point_equation(framework: Framework, g: UserFunction, layout: Layout, rebuild: Rebuild) -> Equation:
    """z - g(z, theta) = 0"""

    def residual(z: Array, theta: Theta) -> Array:
        return z - layout.ravel(g(layout.unravel(z), rebuild(theta)), "the value of g")

    return Equation("fixed_point", residual, function=g)


def argmin_equation(framework: Framework, phi: UserFunction, layout: Layout, rebuild: Rebuild) -> Equation:
    """The gradient of phi by z = 0"""

    def objective(z: Array, theta: Theta) -> Array:
        value = phi(layout.unravel(z), rebuild(theta))
        if not framework.is_array(value):
            raise ArgumentError(
                f"phi must return an array of shape {layout.batch}, computed from z by operations of the framework, "
                f"not {shown(value)}."
            )
        shape = tuple(value.shape)
        if shape != layout.batch:
            raise ArgumentError(
                f"phi must return one number for each element of the batch, in an array of shape {layout.batch}, not "
                f"{shape}.{_on_batches(layout, shape)}"
            )
        return value

    def residual(z: Array, theta: Theta) -> Array:
        value, pullback = framework.vjp(lambda z: objective(z, theta), z)
        return pullback(framework.xp.ones_like(value))

    return Equation("argmin", residual, objective, phi)


def _on_batches(layout: Layout, shape: tuple[int, ...]) -> str:
    """What is to be said where phi seems to see other batch axes than were given."""
    own = len(layout.batch)
    if len(shape) > own and all((*layout.batch, *each)[: len(shape)] == shape for each in layout.shapes):
        return (
            f" It looks as if the first {len(shape)} axes of z0 were batch axes: give batch_axes={len(shape)}, or sum "
            "phi over them."
        )
    if len(shape) < own and layout.batch[: len(shape)] == shape:
        return f" Sum over the axes of an element only, or give batch_axes={len(shape)}."
    return ""
