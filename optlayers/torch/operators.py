"""The three primitives of the PyTorch front-end, around `SolutionMap.forward`, `.derivative` and `.second_derivative`,
as operators that `torch.compile` keeps whole: they take the solution map by an integer, its handle."""

from __future__ import annotations

from typing import Any

import torch
import torch.autograd.forward_ad

from optlayers.errors import DerivativeError
from optlayers.solution_map import NO_THIRD_DERIVATIVE, Residuals, SolutionMap
from optlayers.torch.arrays import to_numpy, to_tensor
from optlayers.torch.handles import Handles
from optlayers.torch.rules import (
    Primitives,
    derivative_cotangents,
    keep_product,
    keep_solve,
    second_derivative_cotangents,
    share_axis,
    solve_cotangents,
)

_maps: Handles[SolutionMap] = Handles("save layers with layer.save rather than inside exported programs")
handle_of, _map = _maps.of, _maps.find


@torch.library.custom_op(
    "optlayers::solve", mutates_args=(), schema="(Tensor theta, int handle) -> (Tensor, Tensor, Tensor)"
)
def _solve(theta: torch.Tensor, handle: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    out, residuals = _map(handle).forward(to_numpy(theta))
    return to_tensor(out), to_tensor(residuals.x), to_tensor(residuals.v)


@_solve.register_fake
def _(theta: torch.Tensor, handle: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batch, solution_map = theta.shape[:-1], _map(handle)
    out, x, v = (theta.new_empty((*batch, size)) for size in (solution_map.output_size, *solution_map.residual_sizes))
    return out, x, v


@torch.library.custom_op(
    "optlayers::derivative",
    mutates_args=(),
    schema="(Tensor theta, Tensor x, Tensor v, Tensor vector, int handle, bool transpose) -> Tensor",
)
def _derivative(
    theta: torch.Tensor, x: torch.Tensor, v: torch.Tensor, vector: torch.Tensor, handle: int, transpose: bool
) -> torch.Tensor:
    residuals = Residuals(to_numpy(theta), to_numpy(x), to_numpy(v))
    return to_tensor(_map(handle).derivative(residuals, to_numpy(vector), transpose))


@torch.library.custom_op(
    "optlayers::second_derivative",
    mutates_args=(),
    schema="(Tensor theta, Tensor x, Tensor v, Tensor first, Tensor second, int handle, bool transpose) -> Tensor",
)
def _second_derivative(
    theta: torch.Tensor,
    x: torch.Tensor,
    v: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    handle: int,
    transpose: bool,
) -> torch.Tensor:
    residuals = Residuals(to_numpy(theta), to_numpy(x), to_numpy(v))
    product = _map(handle).second_derivative(residuals, to_numpy(first), to_numpy(second), transpose)
    return to_tensor(product)


def _fake_product(*arguments: Any) -> torch.Tensor:
    theta, _, _, *vectors, handle, transpose = arguments
    lead = torch.broadcast_shapes(theta.shape[:-1], *(vector.shape[:-1] for vector in vectors))
    solution_map = _map(handle)
    size = solution_map.input_size if transpose else solution_map.output_size
    result: torch.Tensor = vectors[0].new_empty((*lead, size))
    return result


@torch.library.custom_op("optlayers::reverse_only", mutates_args=(), schema="(Tensor theta) -> Tensor")
def reverse_only(theta: torch.Tensor) -> torch.Tensor:
    """theta, in a function that is compiled: PyTorch drops the tangents of an operator's inputs without a word.

    Raises `DerivativeError` where forward mode is on, when the function is traced or when it runs.
    """
    refuse_forward_mode()
    return theta.clone()


@reverse_only.register_fake
def _(theta: torch.Tensor) -> torch.Tensor:
    refuse_forward_mode()
    return torch.empty_like(theta)


def refuse_forward_mode() -> None:
    """Raise `DerivativeError` where it is on."""
    if torch.autograd.forward_ad._current_level >= 0:  # noqa: SLF001  (nothing public tells)
        raise DerivativeError(
            "forward mode (torch.func.jvp, jacfwd, hessian, dual numbers) does not reach into torch.compile. "
            "Call the layer in a function that is not compiled, or use reverse mode."
        )


@torch.library.custom_op("optlayers::fixed", mutates_args=(), schema="(Tensor theta) -> Tensor")
def _fixed(theta: torch.Tensor) -> torch.Tensor:
    """The identity, whose derivative is an error: the node of `second_derivative_cotangents`."""
    return theta.clone()


def _refuse_third_derivative(ctx: Any, g: torch.Tensor) -> torch.Tensor:
    raise DerivativeError(NO_THIRD_DERIVATIVE)


def _second_derivative_of_fixed(theta: torch.Tensor, *arguments: Any) -> torch.Tensor:
    result: torch.Tensor = _second_derivative(_fixed(theta), *arguments)
    return result


OPERATORS = Primitives(_solve, _derivative, _second_derivative_of_fixed)
"""The primitives as operators, which take the handle of the solution map."""


def _register() -> None:
    _fixed.register_fake(torch.empty_like)
    _fixed.register_autograd(_refuse_third_derivative)
    _fixed.register_vmap(lambda info, dims, theta: (_fixed(theta), dims[0]))
    reverse_only.register_autograd(lambda ctx, g: g)
    reverse_only.register_vmap(lambda info, dims, theta: (reverse_only(theta), dims[0]))
    _solve.register_autograd(
        lambda ctx, g_out, *unused: solve_cotangents(OPERATORS, ctx, g_out), setup_context=keep_solve
    )
    _solve.register_vmap(lambda info, dims, theta, handle: (_solve(theta.movedim(dims[0], 0), handle), (0, 0, 0)))
    for operator, cotangents, tensors in (
        (_derivative, derivative_cotangents, 4),
        (_second_derivative, second_derivative_cotangents, 5),
    ):
        _register_product(operator, cotangents, tensors)


def _register_product(operator: Any, cotangents: Any, tensors: int) -> None:
    operator.register_fake(_fake_product)
    operator.register_vmap(
        lambda info, dims, *arguments: (
            operator(*share_axis(dims[:tensors], arguments[:tensors]), *arguments[tensors:]),
            0,
        )
    )
    operator.register_autograd(lambda ctx, g: cotangents(OPERATORS, ctx, g), setup_context=keep_product)


_register()
