"""What users' functions capture, in PyTorch, and where that is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from implicit.torch_closed_forms import close, normal

from optlayers.errors import CaptureError
from optlayers.torch import FixedPointLayer, fixed_point, root

W = normal(3, 3, seed=4) / 10
B = normal(3)
OUTSIDE = W.clone().requires_grad_()


def of_global(z: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.tanh(OUTSIDE @ z) + b


class Holder:
    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight

    def apply(self, z: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.weight @ z) + b


def solved(g: Callable[[Any, Any], Any]) -> torch.Tensor:
    result: torch.Tensor = fixed_point(g, torch.zeros(3, dtype=torch.float64), B)
    return result


def through(weight: torch.Tensor) -> torch.Tensor:
    return solved(lambda z, b: torch.tanh(weight @ z) + b)


def dual_numbers(f: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with forward_ad.dual_level():
        f(forward_ad.make_dual(W, W))


TRANSFORMED: dict[str, Callable[[Callable[[torch.Tensor], torch.Tensor]], Any]] = {
    "autograd": lambda f: f(W.clone().requires_grad_()),
    "grad": lambda f: torch.func.grad(lambda W: f(W).sum())(W),
    "grad of grad": lambda f: torch.func.grad(lambda s: torch.func.grad(lambda W: f(s * W).sum())(W).sum())(
        torch.tensor(1.0, dtype=torch.float64)
    ),
    "vmap of grad": lambda f: torch.vmap(torch.func.grad(lambda W: f(W).sum()))(torch.stack([W, W])),
    "jvp": lambda f: torch.func.jvp(f, (W,), (W,)),
    "jacfwd": lambda f: torch.func.jacfwd(f)(W),
    "dual numbers": dual_numbers,
    "vmap": lambda f: torch.vmap(f)(torch.stack([W, W])),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_captures_are_refused_by_name_in_every_transformation(name: str) -> None:
    with pytest.raises(CaptureError, match="fixed_point uses a value from outside, 'weight', that"):
        TRANSFORMED[name](through)
    close(through(W), fixed_point(lambda z, t: torch.tanh(t @ z) + B, torch.zeros(3, dtype=torch.float64), W))


def test_captures_at_the_solution_alone_are_refused() -> None:
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    with pytest.raises(CaptureError, match="'scale'"):
        root(
            lambda z, t: z - t * scale if bool(z > 1) else z - 2 * t,
            torch.tensor(0.0, dtype=torch.float64),
            torch.tensor(3.0, dtype=torch.float64),
        )


def test_captures_are_named_where_they_stand() -> None:
    module = torch.nn.Linear(3, 3, dtype=torch.float64)
    holder, weights = Holder(OUTSIDE), {"first": OUTSIDE}
    with pytest.raises(CaptureError, match="'OUTSIDE'"):
        solved(of_global)
    with pytest.raises(CaptureError, match=r"'module\.weight', 'module\.bias'"):
        solved(lambda z, b: module(z) / 9 + b)
    with pytest.raises(CaptureError, match=r"'holder\.weight'"):
        solved(lambda z, b: holder.apply(z, b))
    with pytest.raises(CaptureError, match=r"'self\.weight'"):
        solved(holder.apply)
    with pytest.raises(CaptureError, match=r"'weights\['first'\]'"):
        solved(lambda z, b: torch.tanh(weights["first"] @ z) + b)
    scale = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    layer = FixedPointLayer(Scaled(lambda z: scale * z))
    with pytest.raises(CaptureError, match=r"from outside, .*'scale'"):
        layer(normal(2, 3))


def test_captures_are_no_matter_where_gradients_are_off() -> None:
    module = torch.nn.Linear(3, 3, dtype=torch.float64)
    with torch.no_grad():
        z = fixed_point(lambda z, b: torch.tanh(module(z)) / 9 + b, torch.zeros(3, dtype=torch.float64), B)
        close(torch.tanh(module(z)) / 9 + B, z)
        radius = fixed_point.spectral_radius(lambda z, b: torch.tanh(module(z)) / 9 + b, z, B)
        slopes = (1 - torch.tanh(module(z)) ** 2)[:, None] * module.weight / 9
    assert float(radius) == pytest.approx(float(torch.linalg.eigvals(slopes).abs().max()), rel=0.05)


class Scaled(torch.nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.function(z) + x
