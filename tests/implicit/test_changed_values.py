"""Arrays that a function takes from outside, changed in place between the solution and its derivative: in PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from optlayers.errors import AccuracyWarning, DerivativeError
from optlayers.implicit import Newton
from optlayers.torch import FixedPointLayer, root


def test_a_captured_array_changed_in_place_is_noticed() -> None:
    scale = torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64)
    t = torch.ones(3, 1, dtype=torch.float64, requires_grad=True)
    z = root(lambda z, t: scale[:, None] * z - t, torch.zeros_like(t), t, batch_axes=1)
    scale[1] = 5.0
    with pytest.raises(DerivativeError, match=r"of batch index \(1,\) no longer solves its equation.*changed in place"):
        z.sum().backward()


def test_one_that_is_the_same_is_not() -> None:
    scale = torch.tensor(2.0, dtype=torch.float64)
    t = torch.ones(3, dtype=torch.float64, requires_grad=True)
    z = root(lambda z, t: scale * z - t, torch.zeros_like(t), t)
    scale.mul_(2).div_(2)
    z.sum().backward()
    torch.testing.assert_close(t.grad, torch.full((3,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("mapped", [False, True])
def test_so_is_a_random_function(mapped: bool) -> None:
    noise = iter(10 ** torch.arange(60, dtype=torch.float64))

    def F(z: Any, t: Any) -> Any:
        return z - t - next(noise)

    def solution(t: Any) -> Any:
        return root(F, torch.zeros_like(t), t, solver=Newton(max_iterations=1), on_failure="warn").sum()

    t = torch.ones(2, 3, dtype=torch.float64)
    with pytest.raises(DerivativeError, match="or it is random"), pytest.warns(AccuracyWarning):
        torch.func.vmap(torch.func.grad(solution))(t) if mapped else torch.func.grad(solution)(t)


def test_buffers_of_a_module_are_copied() -> None:
    class Cell(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
            self.register_buffer("shift", torch.tensor(1.0, dtype=torch.float64))

        def forward(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return self.weight * z + x + self.shift

    layer = FixedPointLayer(Cell())
    z = layer(torch.ones(2, 1, dtype=torch.float64))
    layer.cell.shift.fill_(7.0)
    z.sum().backward()  # z = 2 (x + 1) / 1, dz/dw = z / (1 - w)
    torch.testing.assert_close(layer.cell.weight.grad, torch.tensor(16.0, dtype=torch.float64))
