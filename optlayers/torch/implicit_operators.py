"""The solution of an equation as an operator that `torch.compile` keeps whole.

It takes the layer by its handle, and the structures of z0 and theta by a number. Its derivative is a second operator,
which has none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, Protocol

import torch

from optlayers.errors import ArgumentError, DerivativeError
from optlayers.implicit import Info
from optlayers.torch.handles import Handles
from optlayers.torch.operators import refuse_forward_mode
from optlayers.torch.trees import number_of, structure_of, tree_of, trees_of
from optlayers.torch.wrapped import outside_operator

Tensors = list[torch.Tensor]
Solution = tuple[Tensors, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""z and the four fields of `Info`."""


class Layer(Protocol):
    """What the operators ask of a layer."""

    batch_axes: int

    def solve(self, z0: Any, theta: Any) -> tuple[Any, Info]:
        """z and how it was found."""

    def cotangents(self, z0: Any, z: Any, g: Any, theta: Any, wanted: Sequence[bool]) -> Sequence[torch.Tensor]:
        """Those of the tensors of theta that are wanted, given z and its own."""


LAYERS: Handles[Layer] = Handles("save its state_dict rather than exported programs")


def solve(handle: int, z0: Any, theta: Any) -> tuple[Any, Info]:
    """z and its `Info`, in a function that is being compiled."""
    starts: Tensors = []
    tensors: Tensors = []
    structure = structure_of(z0, starts)
    number = number_of((structure, structure_of(theta, tensors)))
    z, *info = _solve([start.detach() for start in starts], tensors, handle, number)
    return tree_of(structure, iter(z)), Info(*info)


@torch.library.custom_op(
    "optlayers::implicit_solve",
    mutates_args=(),
    schema="(Tensor[] z0, Tensor[] theta, int layer, int number) -> (Tensor[], Tensor, Tensor, Tensor, Tensor)",
)
def _solve(z0: Tensors, theta: Tensors, layer: int, number: int) -> Solution:
    refuse_forward_mode()
    # With gradients on, captured values that need one are found; the arguments need none, so that nothing is recorded.
    with outside_operator(), torch.enable_grad():
        z, info = LAYERS.find(layer).solve(*trees_of(number, (_detached(z0), _detached(theta))))
    found: Tensors = []
    structure_of(z, found)
    dtype = _dtype(z0, theta)
    if found[0].dtype != dtype:
        raise ArgumentError(
            f"in a compiled function, z has the dtype to which z0 and theta promote, {dtype}, but the layer's function "
            f"has values of dtype {found[0].dtype}: convert z0, the parameters and the inputs to one dtype."
        )
    status, residual, iterations, contraction = info
    counts = (each.to(torch.int32, copy=True) for each in (status, iterations))
    return [each.clone() for each in found], next(counts), residual.clone(), next(counts), contraction.clone()


@_solve.register_fake
def _(z0: Tensors, theta: Tensors, layer: int, number: int) -> Solution:
    refuse_forward_mode()
    dtype, batch = _dtype(z0, theta), z0[0].shape[: LAYERS.find(layer).batch_axes]
    residual, contraction = (z0[0].new_empty(batch, dtype=dtype) for _ in range(2))
    status, iterations = (z0[0].new_empty(batch, dtype=torch.int32) for _ in range(2))
    return [start.new_empty(start.shape, dtype=dtype) for start in z0], status, residual, iterations, contraction


@torch.library.custom_op(
    "optlayers::implicit_cotangents",
    mutates_args=(),
    schema="(Tensor[] z0, Tensor[] z, Tensor[] g, Tensor[] theta, bool[] wanted, int layer, int number) -> Tensor[]",
)
def _cotangents(
    z0: Tensors, z: Tensors, g: Tensors, theta: Tensors, wanted: list[bool], layer: int, number: int
) -> Tensors:
    structures = [trees_of(number, (each, theta)) for each in (z0, z, g)]
    (start, parameters), (found, _), (cotangent, _) = structures
    with outside_operator(), torch.no_grad():
        g_theta = LAYERS.find(layer).cotangents(start, found, cotangent, parameters, wanted)
    return [each.clone(memory_format=torch.contiguous_format) for each in g_theta]


@_cotangents.register_fake
def _(z0: Tensors, z: Tensors, g: Tensors, theta: Tensors, wanted: list[bool], layer: int, number: int) -> Tensors:
    return [each.new_empty(each.shape) for each, want in zip(theta, wanted, strict=True) if want]


def _detached(tensors: Tensors) -> Tensors:
    return [tensor.detach() for tensor in tensors]


def _dtype(z0: Sequence[torch.Tensor], theta: Sequence[torch.Tensor]) -> torch.dtype:
    return reduce(torch.promote_types, (each.dtype for each in (*z0, *theta) if each.is_floating_point()))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Solution) -> None:
    z0, theta, ctx.layer, ctx.number = inputs
    z, *info = output
    ctx.mark_non_differentiable(*info)
    ctx.size = len(z0)
    ctx.save_for_backward(*z0, *z, *theta)


def _backward(ctx: Any, g: Sequence[Any], *unused: Any) -> tuple[Any, ...]:
    n = ctx.size
    z0, z, theta = (ctx.saved_tensors[place] for place in (slice(n), slice(n, 2 * n), slice(2 * n, None)))
    wanted = list(ctx.needs_input_grad[1])
    whole = [torch.zeros_like(each) if given is None else given for each, given in zip(z, g, strict=True)]
    found = iter(_cotangents(list(z0), list(z), whole, list(theta), wanted, ctx.layer, ctx.number))
    return [None] * n, [next(found) if want else None for want in wanted], None, None


def _refuse_second_derivative(ctx: Any, g: Any) -> Any:
    raise DerivativeError(
        "second derivatives of an implicit layer do not reach into torch.compile. Call it in a function that is not "
        "compiled."
    )


def _refuse_vmap(*arguments: Any) -> Any:
    raise ArgumentError(
        "vmap of an implicit layer does not reach into torch.compile. Give the layer batch axes (batch_axes=), or call "
        "it in a function that is not compiled."
    )


_solve.register_autograd(_backward, setup_context=_keep)
_cotangents.register_autograd(_refuse_second_derivative)
for _operator in (_solve, _cotangents):
    _operator.register_vmap(_refuse_vmap)
