"""A layer of each cone within one function for JAX, for processes that do without PyTorch."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from cases import NAMES, case_of
from framework_jax import JAX

CASES = {cone: case_of(JAX, cone) for cone in NAMES}
"""For each cone, its family."""


def every_cone(z: Any) -> Any:
    """All outputs (*B, k) of all families at z (*B, 3)."""
    return jnp.concatenate([case.f(z) for case in CASES.values()], -1)
