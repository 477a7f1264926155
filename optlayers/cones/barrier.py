"""Projections smoothed by a barrier that has no closed form, by Newton's method along the path of its parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
from jaxtyping import Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import Smoothed
from optlayers.cones.derivative import Rotation
from optlayers.cones.diagonal import diagonal

LEVELS = 40
"""Barrier parameters on the path from 1 to mu, in units of |v|^2 + mu."""

STEPS = 4
"""Newton steps for each of them."""

LAST_STEPS = 12
"""Newton steps for the last."""


@final
@dataclass(frozen=True, slots=True)
class Barrier:
    """Gradient and Hessian of a self-concordant barrier at points of the interior."""

    gradient: Float[Any, "*B size"]
    hessian: Float[Any, "*B size size"]


BarrierFunction: TypeAlias = Callable[[Arrays, Any], Barrier]


def proximal_point(
    xp: Arrays, barrier: BarrierFunction, interior: Float[Any, "*B size"], v: Float[Any, "*B size"], mu: float
) -> Smoothed:
    """y = argmin mu f(y) + 1/2 |y - v|^2 and D = (I + mu f''(y))^-1; `interior` holds interior points of the cone.

    Newton's method damped by 1 / (1 + decrement) stays in the cone (Nesterov and Nemirovskii, 1994).
    """
    size = xp.sqrt(xp.sum(v * v, axis=-1) + mu)[..., None]
    target, least = v / size, mu / (size * size)
    y = interior
    # On NumPy's arrays the path is as long as mu needs; elsewhere values are not known while it is written down.
    levels = LEVELS if xp is not np else min(LEVELS, 2 + int(2 * np.log10(1 / np.min(least, initial=1.0))))
    for level in range(levels):
        weight = least ** (level / (levels - 1))
        for _ in range(STEPS):
            y = _newton_step(xp, barrier, y, target, weight)
    for _ in range(LAST_STEPS):
        y = _newton_step(xp, barrier, y, target, least)
    eigenvalues, basis = xp.linalg.eigh(barrier(xp, y).hessian)
    convex = xp.maximum(eigenvalues, xp.zeros_like(eigenvalues))
    return Smoothed(size * y, Rotation(basis, 1 / (1 + least * convex)))


def _newton_step(
    xp: Arrays,
    barrier: BarrierFunction,
    y: Float[Any, "*B size"],
    target: Float[Any, "*B size"],
    weight: Float[Any, "*B 1"],
) -> Float[Any, "*B size"]:
    """One damped step on f(y) + 1/2 |y - target|^2 / weight."""
    local = barrier(xp, y)
    gradient = local.gradient + (y - target) / weight
    hessian = local.hessian + diagonal(xp, xp.ones_like(y) / weight)
    step = xp.linalg.solve(hessian, gradient[..., None])[..., 0]
    decrement = xp.sqrt(xp.abs(xp.sum(gradient * step, axis=-1)))[..., None]
    return y - step / (1 + decrement)
