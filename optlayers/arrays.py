"""The array operations that the shared numerics need, for any library that follows the array API standard.

A function that computes on a caller's arrays takes the library as `xp`: `numpy`, `jax.numpy`, or torch's namespace.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int32]
Mask: TypeAlias = npt.NDArray[np.bool_]


@runtime_checkable
class Arrays(Protocol):
    """The part of the array API standard (2023.12) that the package uses."""

    def maximum(self, a: Any, b: Any, /) -> Any: ...
    def where(self, condition: Any, a: Any, b: Any, /) -> Any: ...
    def zeros_like(self, a: Any, /) -> Any: ...
    def ones_like(self, a: Any, /) -> Any: ...
    def reshape(self, a: Any, /, shape: tuple[int, ...]) -> Any: ...
    def broadcast_to(self, a: Any, /, shape: tuple[int, ...]) -> Any: ...
    def zeros(self, shape: tuple[int, ...]) -> Any: ...
    def concat(self, arrays: list[Any], /, *, axis: int) -> Any: ...
