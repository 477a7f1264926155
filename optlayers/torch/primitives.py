"""The two differentiable functions of the PyTorch front-end, around `SolutionMap.forward` and `.derivative`."""

from __future__ import annotations

from typing import Any, final

import torch

from optlayers.errors import DerivativeError
from optlayers.solution_map import Residuals, SolutionMap
from optlayers.torch.arrays import to_numpy, to_tensor


@final
class Solve(torch.autograd.Function):
    """theta (*B, p) -> out (*B, k), and the residuals x, v, in double precision on the CPU."""

    @staticmethod
    def forward(theta: torch.Tensor, solution_map: SolutionMap) -> tuple[torch.Tensor, ...]:
        out, residuals = solution_map.forward(to_numpy(theta))
        return to_tensor(out, theta), torch.from_numpy(residuals.x), torch.from_numpy(residuals.v)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        theta, ctx.solution_map = inputs
        _, x, v = output
        ctx.mark_non_differentiable(x, v)
        ctx.save_for_backward(theta, x, v)
        ctx.save_for_forward(theta, x, v)

    @staticmethod
    def backward(ctx: Any, g_out: torch.Tensor, *unused: Any) -> tuple[Any, ...]:
        return _apply(Derivative, *ctx.saved_tensors, g_out, ctx.solution_map, True), None

    @staticmethod
    def jvp(ctx: Any, d_theta: torch.Tensor, *unused: Any) -> tuple[Any, ...]:
        return _apply(Derivative, *ctx.saved_tensors, d_theta, ctx.solution_map, False), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], theta: torch.Tensor, solution_map: SolutionMap) -> tuple[Any, ...]:
        return _apply(Solve, theta.movedim(in_dims[0], 0), solution_map), (0, 0, 0)


@final
class Derivative(torch.autograd.Function):
    """vector -> J vector, or J' vector if `transpose`, at the solution (theta, x, v): linear, its own transpose with
    the flag flipped."""

    @staticmethod
    def forward(
        theta: torch.Tensor,
        x: torch.Tensor,
        v: torch.Tensor,
        vector: torch.Tensor,
        solution_map: SolutionMap,
        transpose: bool,
    ) -> torch.Tensor:
        residuals = Residuals(to_numpy(theta), to_numpy(x), to_numpy(v))
        return to_tensor(solution_map.derivative(residuals, to_numpy(vector), transpose), vector)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        theta, x, v, _, ctx.solution_map, ctx.transpose = inputs
        ctx.save_for_backward(theta, x, v)
        ctx.save_for_forward(theta, x, v)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[Any, ...]:
        if ctx.needs_input_grad[0]:
            raise DerivativeError(_NO_SECOND_DERIVATIVE)
        g_vector = _apply(Derivative, *ctx.saved_tensors, g, ctx.solution_map, not ctx.transpose)
        return None, None, None, g_vector, None, None

    @staticmethod
    def jvp(ctx: Any, d_theta: Any, d_x: Any, d_v: Any, d_vector: torch.Tensor, *unused: Any) -> torch.Tensor:
        if d_theta is not None:
            raise DerivativeError(_NO_SECOND_DERIVATIVE)
        result: torch.Tensor = _apply(Derivative, *ctx.saved_tensors, d_vector, ctx.solution_map, ctx.transpose)
        return result

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        theta: torch.Tensor,
        x: torch.Tensor,
        v: torch.Tensor,
        vector: torch.Tensor,
        solution_map: SolutionMap,
        transpose: bool,
    ) -> tuple[Any, ...]:
        parts = [
            tensor.unsqueeze(0) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((theta, x, v, vector), in_dims[:4], strict=True)
        ]
        parts[3] = parts[3].expand(info.batch_size, *parts[3].shape[1:])
        return _apply(Derivative, *parts, solution_map, transpose), 0


def solve(theta: torch.Tensor, solution_map: SolutionMap) -> torch.Tensor:
    """theta (*B, p) -> out (*B, k)."""
    out: torch.Tensor = _apply(Solve, theta, solution_map)[0]
    return out


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    return function.apply(*arguments)


_NO_SECOND_DERIVATIVE = (
    "second derivatives through the solution are not available in this version. Detach the first derivative, or take "
    "differences of gradients."
)
