"""Transformations of `torch.func` in any nesting: of an implicit layer, each means what it means of a formula."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch

from optlayers.torch import root

Function = Callable[[torch.Tensor], torch.Tensor]

DERIVATIVES: list[Function] = [
    torch.sqrt,
    lambda t: t**-0.5 / 2,
    lambda t: -(t**-1.5) / 4,
    lambda t: 3 * t**-2.5 / 8,
]


def square_root(t: torch.Tensor) -> torch.Tensor:
    return root(lambda z, t: z**2 - t, torch.ones_like(t)[..., None], t[..., None], batch_axes=t.dim())[..., 0]


def forward(f: Function) -> Function:
    return lambda t: torch.func.jvp(f, (t,), (torch.ones_like(t),))[1]


def reverse(f: Function) -> Function:
    return torch.func.grad(lambda t: f(t).sum())


def mapped(f: Function) -> Function:
    return lambda t: torch.func.vmap(f, in_dims=-1, out_dims=-1)(torch.stack([t + 1, t], dim=-1))[..., 1]


OPERATIONS: dict[str, Any] = {"jvp": forward, "grad": reverse, "vmap": mapped}


@pytest.mark.parametrize("word", list(product(OPERATIONS, repeat=3)), ids=" of ".join)
def test_nesting(word: tuple[str, ...], without_checks: None) -> None:
    f: Function = square_root
    for name in reversed(word):
        f = OPERATIONS[name](f)
    t = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    order = sum(name != "vmap" for name in word)
    torch.testing.assert_close(f(t), DERIVATIVES[order](t), rtol=1e-9, atol=1e-9)
