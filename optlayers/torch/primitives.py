"""The primitives as autograd Functions, for every transformation but `torch.compile`: what the operators lack, forward
mode and the error where third derivatives are asked for, stands here."""

from __future__ import annotations

from typing import Any, final

import torch

from optlayers.errors import DerivativeError
from optlayers.solution_map import NO_THIRD_DERIVATIVE, SolutionMap
from optlayers.torch.operators import OPERATORS, handle_of
from optlayers.torch.rules import (
    Primitives,
    derivative_cotangents,
    keep_product,
    keep_solve,
    second_derivative_cotangents,
    share_axis,
    solve_cotangents,
)

Tensors = tuple[torch.Tensor, ...]


@final
class Solve(torch.autograd.Function):
    """`Primitives.solve`."""

    @staticmethod
    def forward(theta: torch.Tensor, solution_map: SolutionMap) -> Tensors:
        return OPERATORS.solve(theta, handle_of(solution_map))  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
        keep_solve(ctx, inputs, output)
        ctx.save_for_forward(inputs[0], *output[1:])

    @staticmethod
    def backward(ctx: Any, g_out: torch.Tensor, *unused: Any) -> tuple[Any, ...]:
        return solve_cotangents(FUNCTIONS, ctx, g_out)

    @staticmethod
    def jvp(ctx: Any, d_theta: torch.Tensor, *unused: Any) -> tuple[Any, ...]:
        return FUNCTIONS.derivative(*ctx.saved_tensors, d_theta, ctx.map, False), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], theta: torch.Tensor, solution_map: SolutionMap) -> tuple[Any, ...]:
        return FUNCTIONS.solve(theta.movedim(in_dims[0], 0), solution_map), (0, 0, 0)


@final
class Derivative(torch.autograd.Function):
    """`Primitives.derivative`: linear in the vector, its own transpose with the flag flipped."""

    @staticmethod
    def forward(
        theta: torch.Tensor,
        x: torch.Tensor,
        v: torch.Tensor,
        vector: torch.Tensor,
        solution_map: SolutionMap,
        transpose: bool,
    ) -> torch.Tensor:
        return OPERATORS.derivative(theta, x, v, vector, handle_of(solution_map), transpose)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        keep_product(ctx, inputs, output)
        ctx.save_for_forward(*inputs[:4])

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[Any, ...]:
        return derivative_cotangents(FUNCTIONS, ctx, g)

    @staticmethod
    def jvp(ctx: Any, d_theta: Any, d_x: Any, d_v: Any, d_vector: Any, *unused: Any) -> torch.Tensor:
        *point, vector = ctx.saved_tensors
        settings = (ctx.map, ctx.transpose)
        terms = []
        if d_vector is not None:
            terms.append(FUNCTIONS.derivative(*point, d_vector, *settings))
        if d_theta is not None:
            terms.append(FUNCTIONS.second_derivative(*point, vector, d_theta, *settings))
        return _sum(terms)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, ...]:
        return FUNCTIONS.derivative(*share_axis(in_dims[:4], arguments[:4]), *arguments[4:]), 0


@final
class SecondDerivative(torch.autograd.Function):
    """`Primitives.second_derivative`: linear in both vectors, its own transpose as `SolutionMap` says."""

    @staticmethod
    def forward(
        theta: torch.Tensor,
        x: torch.Tensor,
        v: torch.Tensor,
        first: torch.Tensor,
        second: torch.Tensor,
        solution_map: SolutionMap,
        transpose: bool,
    ) -> torch.Tensor:
        return OPERATORS.second_derivative(theta, x, v, first, second, handle_of(solution_map), transpose)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        keep_product(ctx, inputs, output)
        ctx.save_for_forward(*inputs[:5])

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[Any, ...]:
        return second_derivative_cotangents(FUNCTIONS, ctx, g)

    @staticmethod
    def jvp(ctx: Any, d_theta: Any, d_x: Any, d_v: Any, d_first: Any, d_second: Any, *unused: Any) -> torch.Tensor:
        *point, first, second = ctx.saved_tensors
        settings = (ctx.map, ctx.transpose)
        terms = []
        if d_first is not None:
            terms.append(FUNCTIONS.second_derivative(*point, d_first, second, *settings))
        if d_second is not None:
            terms.append(FUNCTIONS.second_derivative(*point, first, d_second, *settings))
        return _sum(terms)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, ...]:
        return _second_derivative(*share_axis(in_dims[:5], arguments[:5]), *arguments[5:]), 0


@final
class Fixed(torch.autograd.Function):
    """The identity, whose derivative is an error: the node of `second_derivative_cotangents`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(theta: torch.Tensor) -> torch.Tensor:
        return theta.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        raise DerivativeError(NO_THIRD_DERIVATIVE)

    @staticmethod
    def jvp(ctx: Any, d_theta: torch.Tensor) -> torch.Tensor:
        raise DerivativeError(NO_THIRD_DERIVATIVE)


def _second_derivative(theta: torch.Tensor, *arguments: Any) -> torch.Tensor:
    result: torch.Tensor = _apply(SecondDerivative, _apply(Fixed, theta), *arguments)
    return result


def _sum(terms: list[torch.Tensor]) -> torch.Tensor:
    return terms[0] if len(terms) == 1 else terms[0] + terms[1]


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    return function.apply(*arguments)


FUNCTIONS = Primitives(
    lambda *arguments: _apply(Solve, *arguments),
    lambda *arguments: _apply(Derivative, *arguments),
    _second_derivative,
)
"""The primitives as autograd Functions, which take the solution map itself."""
