"""Roots in PyTorch beside their closed forms.

Cardano's formula: the real root of z^3 + p z = q, for p > 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from optlayers.implicit import Newton
from optlayers.torch import root

EXACT = Newton(tolerance=1e-13)
LIMIT = 1e-9


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(ours: torch.Tensor, plain: torch.Tensor, limit: float = LIMIT) -> None:
    torch.testing.assert_close(ours, plain, rtol=limit, atol=limit * float(plain.detach().abs().max() + 1))


def matrix(seed: int = 1) -> torch.Tensor:
    return normal(3, 3, seed=seed) + 4 * torch.eye(3, dtype=torch.float64)


def linear(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = root(lambda z, theta: theta[0] @ z - theta[1], torch.zeros_like(b), (A, b), solver=EXACT)
    return result


def linear_exact(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # Not torch.linalg.solve: its own forward mode is wrong inside vmap and inside forward mode.
    return torch.linalg.inv(A) @ b


def cubic(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = root(
        lambda z, theta: z**3 + theta["p"] * z - theta["q"], torch.ones_like(q), {"p": p, "q": q}, solver=EXACT
    )
    return result


def cubic_exact(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    w = torch.sqrt(q**2 / 4 + p**3 / 27)
    c = (w + q / 2) ** (1 / 3)
    return c - p / (3 * c)


CASES: list[tuple[Callable[..., Any], Callable[..., Any], tuple[torch.Tensor, ...]]] = [
    (linear, linear_exact, (matrix(), normal(3))),
    (cubic, cubic_exact, (torch.tensor(0.8, dtype=torch.float64), torch.tensor(1.7, dtype=torch.float64))),
]
