"""Tensors to NumPy arrays and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from optlayers.errors import ArgumentError
from optlayers.program import Parameter


def check_tensors(parameters: Sequence[Parameter], arguments: Sequence[Any]) -> None:
    """Raise `ArgumentError` unless every argument is a tensor of real floating-point numbers, all on one device."""
    for parameter, argument in zip(parameters, arguments, strict=True):
        if not isinstance(argument, torch.Tensor):
            raise ArgumentError(
                f"parameter '{parameter.name}' must be a torch.Tensor, not {type(argument).__name__}; "
                "convert it with torch.as_tensor."
            )
        if not argument.is_floating_point():
            raise ArgumentError(
                f"parameter '{parameter.name}' has dtype {argument.dtype}; a floating-point dtype is expected. "
                "Convert it with .double() or .float()."
            )
        if argument.device != arguments[0].device:
            raise ArgumentError(
                f"parameter '{parameter.name}' is on {argument.device}, but '{parameters[0].name}' is on "
                f"{arguments[0].device}; move them to one device."
            )


def without_autocast(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The tensors, under autocast those of half precision in single: a solution is not to be rounded coarsely."""
    return [
        tensor.float() if tensor.dtype.itemsize < 4 and torch.is_autocast_enabled(tensor.device.type) else tensor
        for tensor in tensors
    ]


def to_numpy(tensor: torch.Tensor) -> Float[np.ndarray, "..."]:
    """The tensor's numbers in double precision."""
    array: Float[np.ndarray, "..."] = tensor.detach().to(device="cpu", dtype=torch.float64).numpy()
    return array


def to_tensor(array: Float[np.ndarray, "..."], like: torch.Tensor) -> torch.Tensor:
    """The array as a tensor of the dtype and device of `like`."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device=like.device, dtype=like.dtype)
