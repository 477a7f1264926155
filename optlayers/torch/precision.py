"""In which precision equations are solved."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def is_autocast(device: torch.device) -> bool:
    """Whether `torch.autocast` is on for a device."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Without `torch.autocast`: an equation is solved to no more digits than its function has."""
    return torch.autocast(device.type, enabled=False) if is_autocast(device) else nullcontext()


def widened(leaf: Any) -> Any:
    """Numbers of less than single precision in single precision, as what `torch.autocast` casts is cast back."""
    return leaf.float() if isinstance(leaf, torch.Tensor) and is_narrow(leaf.dtype) else leaf


def is_narrow(dtype: torch.dtype) -> bool:
    """Whether numbers of the dtype have fewer digits than those of single precision."""
    return dtype.is_floating_point and dtype.itemsize < torch.float32.itemsize
