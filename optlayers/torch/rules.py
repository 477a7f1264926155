"""The rules of reverse mode and of batching, written once for both kinds of primitives that PyTorch needs: custom
operators, which compose with `torch.compile`, and autograd Functions, which compose with every other transformation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Primitives(NamedTuple):
    """One kind of primitives; the last arguments of each are the solution map, as itself or by its handle, and, of the
    last two, whether to transpose. All tensors are in double precision on the CPU.

    solve: theta (*B, p), map -> out (*B, k), and the residuals x, v.
    derivative: theta, x, v, vector, map, transpose -> J vector, or J' vector.
    second_derivative: theta, x, v, first, second, map, transpose -> the derivative along `second` of J first, or of
        J' first.
    """

    solve: Callable[..., Any]
    derivative: Callable[..., Any]
    second_derivative: Callable[..., Any]


def keep_solve(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    """What the derivative of `solve` needs."""
    theta, ctx.map = inputs
    _, x, v = output
    ctx.mark_non_differentiable(x, v)
    ctx.save_for_backward(theta, x, v)


def keep_product(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    """What the derivatives of `derivative` and `second_derivative` need."""
    *tensors, ctx.map, ctx.transpose = inputs
    ctx.save_for_backward(*tensors)


def solve_cotangents(primitives: Primitives, ctx: Any, g_out: torch.Tensor) -> tuple[Any, ...]:
    """Those of the inputs of `solve`."""
    return primitives.derivative(*ctx.saved_tensors, g_out, ctx.map, True), None


def derivative_cotangents(primitives: Primitives, ctx: Any, g: torch.Tensor) -> tuple[Any, ...]:
    """Those of the inputs of `derivative`."""
    *point, vector = ctx.saved_tensors
    g_theta = g_vector = None
    if ctx.needs_input_grad[0]:
        vectors = (vector, g) if ctx.transpose else (g, vector)
        g_theta = primitives.second_derivative(*point, *vectors, ctx.map, True).sum_to_size(point[0].shape)
    if ctx.needs_input_grad[3]:
        g_vector = primitives.derivative(*point, g, ctx.map, not ctx.transpose).sum_to_size(vector.shape)
    return g_theta, None, None, g_vector, None, None


def second_derivative_cotangents(primitives: Primitives, ctx: Any, g: torch.Tensor) -> tuple[Any, ...]:
    """Those of the inputs of `second_derivative`. Third derivatives are not known: theta's cotangent is zero, and goes
    to a node that raises where one asks for it, since PyTorch wants all cotangents of a node, also those of no use."""
    *point, first, second = ctx.saved_tensors
    g_first = g_second = None
    g_theta = torch.zeros_like(point[0]) if ctx.needs_input_grad[0] else None
    if ctx.needs_input_grad[3]:
        product = primitives.second_derivative(*point, g, second, ctx.map, not ctx.transpose)
        g_first = product.sum_to_size(first.shape)
    if ctx.needs_input_grad[4]:
        vectors = (first, g) if ctx.transpose else (g, first)
        g_second = primitives.second_derivative(*point, *vectors, ctx.map, True).sum_to_size(second.shape)
    return g_theta, None, None, g_first, g_second, None, None


def share_axis(dims: tuple[Any, ...], tensors: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """Tensors with the new axis of `vmap` in front; those without it get it with length one: what is shared by the
    batch is computed once."""
    return [
        tensor.unsqueeze(0) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, dims, strict=True)
    ]
