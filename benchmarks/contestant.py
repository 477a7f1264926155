"""What takes part in the benchmark, and the one contract that all parts meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import cvxpy as cp
import numpy as np
import numpy.typing as npt

Values: TypeAlias = tuple[npt.NDArray[np.float64], ...]
"""One array (B, *shape) for each parameter, or for each output."""

Pullback: TypeAlias = Callable[[Values], Values]
"""Cotangents of the outputs -> gradients of the parameters."""

Output: TypeAlias = cp.Variable | cp.Constraint
"""A variable, or a constraint, which stands for its dual variable in CVXPY's sign convention."""


class RefusedError(Exception):
    """The contestant does not take a problem written like this; the text says why."""


class Layer(Protocol):
    """A built layer. All numbers are NumPy arrays in double precision, so that no framework is favoured."""

    def __call__(self, values: Values) -> tuple[Values, Pullback]:
        """The outputs at the parameter values, and what differentiates them."""


class Contestant(Protocol):
    """A package with its settings. A file in `contestants/` for each; `contestants/__init__.py` lists them.

    needs: the distributions that must be installed.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> tuple[str, ...]: ...

    def build(self, problem: cp.Problem, parameters: Sequence[cp.Parameter], outputs: Sequence[Output]) -> Layer:
        """The layer; raises `RefusedError` where the package turns the problem down before solving anything."""
