"""Arguments of implicit layers in PyTorch: precision, memory, modes, what is no tensor, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from implicit.torch_closed_forms import close, linear, matrix, normal
from implicit.torch_models import Cell, compiled
from oracles import unchecked

from optlayers.errors import ArgumentError, OptionError
from optlayers.implicit import LU, FixedPointIteration
from optlayers.torch import FixedPointLayer, root


def test_autocast_and_narrow_numbers() -> None:
    exact = FixedPointLayer(Cell())
    single = FixedPointLayer(Cell().float(), solver=FixedPointIteration(tolerance=1e-6), backward=LU(tolerance=1e-5))
    x = normal(4, 3).bfloat16()
    expected = torch.autograd.grad(exact(x.double()).sum(), list(exact.parameters()))
    with unchecked():
        for call in (single, compiled(single, "aot_eager")):
            single.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                z = call(x.requires_grad_())
                z.sum().backward()
            assert z.dtype == torch.float32
            close(z.double(), exact(x.double()), 1e-5)
            for parameter, gradient in zip(single.parameters(), expected, strict=True):
                close(parameter.grad.double(), gradient, 1e-5)
            assert x.grad.dtype == torch.bfloat16
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(ArgumentError, match=rf"{dtype}.*\.float\(\)"):
            root(lambda z, x: z - x, torch.zeros(2, dtype=dtype), torch.ones(2, dtype=dtype))


def test_strided_and_expanded_arguments() -> None:
    wide = normal(6, 8)
    b = wide.T[1:4, 2].requires_grad_()
    A = matrix().T
    assert not A.is_contiguous()
    close(linear(A, b), torch.linalg.solve(A, b))
    shared = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    z = root(lambda z, t: z**3 + z - t, torch.zeros(1, dtype=torch.float64).expand(4), shared.expand(4))
    (gradient,) = torch.autograd.grad(z.sum(), shared)
    close(gradient, (4 / (3 * z**2 + 1)).mean())


def test_modes_without_gradients() -> None:
    A, b = matrix(), normal(3).requires_grad_()
    with torch.no_grad():
        assert not linear(A, b).requires_grad
    with torch.inference_mode():
        close(linear(2 * A, 2 * b).clone(), torch.linalg.solve(A, b))


def test_leaves_of_theta_that_are_no_tensors_or_need_no_gradient() -> None:
    theta = {
        "a": torch.tensor(2.0, dtype=torch.float64, requires_grad=True),
        "fixed": torch.tensor(3.0, dtype=torch.float64),
        "index": torch.tensor(1),
        "number": 0.5,
        "n": 2,
        "flag": True,
        "none": None,
        "name": "a",
    }

    def F(z: torch.Tensor, t: Any) -> torch.Tensor:
        assert (t["flag"], t["none"], t["name"]) == (True, None, "a")
        return t["number"] * z - t["n"] * t["a"] - t["fixed"] * t["index"]

    def f(a: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = root(F, torch.zeros(2, dtype=torch.float64), {**theta, "a": a})
        return result

    z = f(theta["a"])
    close(z, torch.full((2,), 14.0, dtype=torch.float64))
    assert torch.autograd.grad(z.sum(), theta["a"])[0] == 8
    close(torch.vmap(torch.func.jacfwd(f))(normal(3)), torch.full((3, 2), 4.0, dtype=torch.float64))
    assert root(lambda z, t: z**2 - 2, torch.tensor(1.0, dtype=torch.float64)) ** 2 == pytest.approx(2)


@pytest.mark.parametrize(
    ("z0", "theta", "text"),
    [
        (torch.ones(2, dtype=torch.int64), 1.0, "z0 has dtype torch.int64"),
        (torch.ones(2, dtype=torch.complex64), 1.0, "z0 has dtype torch.complex64"),
        (1.0, 1.0, "not float; convert it with torch.as_tensor"),
        (torch.ones(2).to_sparse(), 1.0, "dense"),
        (torch.ones(2, device="meta"), 1.0, "meta device"),
        (torch.ones(2), torch.ones(2, device="meta"), "meta device"),
        (torch.ones(0), 1.0, "no entries"),
        ({}, 1.0, "no entries"),
    ],
)
def test_plain_errors_for_arguments(z0: Any, theta: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        root(lambda z, t: z - t, z0, theta)


@pytest.mark.parametrize("batch_axes", [-1, True, 1.0])
def test_a_number_of_batch_axes_is_expected(batch_axes: Any) -> None:
    with unchecked(), pytest.raises(ArgumentError, match=f"batch_axes={batch_axes}"):
        root(lambda z, t: z - t, torch.ones(2, 3), torch.ones(2, 3), batch_axes=batch_axes)


def test_plain_errors_for_values_of_the_function() -> None:
    for value in (None, 1.0, torch.ones(3)):
        with pytest.raises(ArgumentError, match="the value of F must be like z0"):
            root(lambda z, t: value, torch.ones(2))  # noqa: B023
    with pytest.raises(ArgumentError, match="z0 is missing"):
        FixedPointLayer(Cell())()


def test_checkpoints_inside_transformations_are_refused() -> None:
    layer = FixedPointLayer(Cell(), solver=FixedPointIteration(), differentiate="unrolled", checkpoint=True)
    with pytest.raises(OptionError, match="checkpoint=True does not work inside"):
        torch.func.grad(lambda x: layer(x).sum())(normal(2, 3))


def test_z0_of_another_dtype_starts_the_iteration_only() -> None:
    z = root(lambda z, t: z**2 - t, torch.ones(2), torch.full((2,), 2.0, dtype=torch.float64))
    close(z, torch.full((2,), 2.0, dtype=torch.float64).sqrt(), 1e-12)
