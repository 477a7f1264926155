"""The transformations that a front-end composes with, under one set of names: one contract is written for all.

Each framework's own are in a file by themselves, so that a process may do without the others.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, final

import numpy as np

Function = Callable[..., Any]


@final
@dataclass(frozen=True)
class Framework:
    """Layers and transformations of functions of arrays. `jvp(f, z, d)` and `vjp(f, z, g)` give the products only.

    xp: the functions of arrays, as NumPy names them.
    whole: the function, as it is fast to run once: compiled in JAX, where each new operation is compiled by itself.
    unchecked: a context in which functions can be traced.
    """

    name: str
    xp: Any
    layer: Callable[..., Callable[..., tuple[Any, ...]]]
    array: Callable[[np.ndarray], Any]
    grad: Function
    jvp: Callable[[Function, Any, Any], Any]
    vjp: Callable[[Function, Any, Any], Any]
    linearize: Callable[[Function, Any, Any], Any]
    jacfwd: Function
    jacrev: Function
    hessian: Function
    vmap: Function
    jit: Function
    checkpoint: Callable[[Function], Function]
    whole: Callable[[Function], Function]
    unchecked: Callable[[], AbstractContextManager[None]] = nullcontext
