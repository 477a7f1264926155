"""Products with derivatives of functions of tensors, by reverse mode alone.

PyTorch's forward mode does not nest inside its own dual numbers, and not every operation has one. The pullback
u -> f' u is linear in u, and its own pullback is d -> f d (Christianson 1992, Automatic Hessians by reverse
accumulation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def linearize(f: Callable[..., torch.Tensor], *primals: Any) -> tuple[torch.Tensor, Callable[..., torch.Tensor]]:
    """f at the primals, and its derivative there as a function of tangents."""
    value, pullback = vjp(f, *primals)
    _, pushforward = vjp(pullback, torch.zeros_like(value))
    return value, lambda *tangents: pushforward(tangents)[0]


def vjp(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], Any]]:
    """f at the primals, and the transpose of its derivative there: a tuple, one for each primal."""
    value, pullback, *_ = torch.func.vjp(f, *primals)
    return value, pullback


def replaced(values: Sequence[Any], places: Sequence[int], chosen: Sequence[Any]) -> tuple[Any, ...]:
    """The values, with those at `places` replaced by the chosen ones."""
    result = list(values)
    for place, value in zip(places, chosen, strict=True):
        result[place] = value
    return tuple(result)
