"""Tensors inside `torch.func`'s transformations, which wrap them. Nothing public tells; what is asked stands here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

_functorch = torch._C._functorch  # noqa: SLF001


def layers(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensor, what it wraps, and so on to the numbers."""
    yield tensor
    while _functorch.is_functorch_wrapped_tensor(tensor):
        tensor = _functorch.get_unwrapped(tensor)
        yield tensor


def levels(tensor: torch.Tensor) -> set[int]:
    """Those of the transformations that the tensor is in."""
    return {
        _functorch.maybe_get_level(layer) for layer in layers(tensor) if _functorch.is_functorch_wrapped_tensor(layer)
    }


def numbers(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's numbers, with the axes of `vmap` in front."""
    axes = [_functorch.maybe_get_bdim(layer) for layer in layers(tensor) if _functorch.is_batchedtensor(layer)]
    *_, innermost = layers(tensor)
    with temporarily_clear_interpreter_stack():
        array = innermost.detach().cpu().numpy()
    for axis in reversed(axes):
        array = np.moveaxis(array, axis, 0)
    return array


def is_transformed() -> bool:
    """Whether one of the transformations is running."""
    return _functorch.peek_interpreter_stack() is not None
