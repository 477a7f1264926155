"""Tensors to NumPy arrays and back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from optlayers.errors import ArgumentError
from optlayers.program import Parameter


def check_tensors(parameters: Sequence[Parameter], arguments: Sequence[Any]) -> None:
    """Raise `ArgumentError` unless every argument is a dense tensor of floating-point numbers, all on one device."""
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
        if argument.layout != torch.strided:
            raise ArgumentError(
                f"parameter '{parameter.name}' must be a dense tensor; its layout is {argument.layout}. "
                "Convert it with .to_dense()."
            )
        if argument.device != arguments[0].device:
            raise ArgumentError(
                f"parameter '{parameter.name}' is on {argument.device}, but '{parameters[0].name}' is on "
                f"{arguments[0].device}; move them to one device."
            )


def to_double(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's numbers in double precision on the CPU, differentiable; without numbers on its own device."""
    return (tensor if tensor.is_meta else tensor.to("cpu")).to(torch.float64)


def result_dtype(tensors: Sequence[torch.Tensor]) -> torch.dtype:
    """The dtype of the outputs: that to which the arguments promote, and under autocast at least float32, since a
    solution is not to be rounded coarsely."""
    dtypes = [tensor.dtype for tensor in tensors]
    if tensors and not tensors[0].is_meta and torch.is_autocast_enabled(tensors[0].device.type):
        dtypes.append(torch.float32)
    return reduce(torch.promote_types, dtypes, dtypes[0]) if dtypes else torch.get_default_dtype()


def to_numpy(tensor: torch.Tensor) -> Float[np.ndarray, "..."]:
    """The numbers of a tensor in double precision on the CPU."""
    array: Float[np.ndarray, "..."] = tensor.detach().numpy()
    return array


def to_tensor(array: Float[np.ndarray, "..."]) -> torch.Tensor:
    """The array as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(array))
