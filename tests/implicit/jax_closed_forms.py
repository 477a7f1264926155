"""Implicit layers in JAX whose solutions are known functions of t and s."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from optlayers.jax import argmin, fixed_point, root

FUNCTIONS = {"root": root, "fixed_point": fixed_point, "argmin": argmin}
EQUATIONS: dict[str, Callable[..., Any]] = {
    "root": lambda z, theta: jnp.exp(z) - theta[0] * theta[1],
    "fixed_point": lambda z, theta: z - (z**2 - theta[0] * theta[1]) / 4,
    "argmin": lambda z, theta: jnp.exp(z) - theta[0] * theta[1] * z,
}
CLOSED: dict[str, Callable[..., Any]] = {
    "root": lambda t, s: jnp.log(t * s),
    "fixed_point": lambda t, s: jnp.sqrt(t * s),
    "argmin": lambda t, s: jnp.log(t * s),
}
T, S = np.array([0.6, 1.1, 1.9]), np.array([0.7, 1.2])

each_kind = pytest.mark.parametrize("kind", FUNCTIONS)


def solution(kind: str, t: Any, s: Any = 1.0, **settings: Any) -> Any:
    """The z of t and s, numbers."""
    return FUNCTIONS[kind](EQUATIONS[kind], jnp.ones(()), (t, s), **settings)
