"""The two primitives of the implicit layers: the solution of an equation, whose derivative is the solution of linear
systems; and that, whose derivative and whose transpose are itself again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch

from optlayers.implicit import (
    AbstractIteration,
    AbstractLinearSolver,
    Equation,
    Info,
    LinearInfo,
    OnFailure,
    Policy,
    Problem,
    Rule,
    run,
)
from optlayers.torch.function_rules import forward_rule, primal, reverse_rule
from optlayers.torch.products import linearize, replaced, vjp
from optlayers.torch.wrapped import numbers


def judge(value: torch.Tensor, info: Info | LinearInfo, policy: Policy) -> torch.Tensor:
    """The value, after the policy has been applied to how it was found."""
    policy.review(type(info)(*(numbers(array) for array in info)))
    if policy.on_failure is OnFailure.NAN:
        value = torch.where(info.solved[..., None], value, torch.nan)
    return value


@final
class Solve(torch.autograd.Function):
    """z0 (*B, n), problem, solver, rule, *theta -> z (*B, n), and its `Info`. The theta of the problem is not read."""

    @staticmethod
    def forward(
        z: torch.Tensor, problem: Problem, solver: AbstractIteration, rule: Rule, *theta: Any
    ) -> tuple[torch.Tensor, ...]:
        found, info = run(problem.at(theta), solver, z)
        # An output must not be the input itself, as it is where z0 is a solution.
        return judge(found.clone() if found is z else found, info, rule.forward_policy), *info

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        _, ctx.problem, _, ctx.rule, *theta = inputs
        z, *info = output
        ctx.mark_non_differentiable(*info)
        _keep(ctx, (z, *theta))

    @staticmethod
    @reverse_rule
    def backward(ctx: Any, g: torch.Tensor, *unused: Any) -> tuple[Any, ...]:
        z, *theta = _kept(ctx)
        wanted = [place for place in range(len(theta)) if ctx.needs_input_grad[4 + place]]
        g_theta: list[Any] = [None] * len(theta)
        for place, cotangent in zip(wanted, cotangents(ctx.problem.at(theta), ctx.rule, z, g, wanted), strict=True):
            g_theta[place] = cotangent
        return None, None, None, None, *g_theta

    @staticmethod
    @forward_rule
    def jvp(ctx: Any, d_z: Any, *tangents: Any) -> tuple[Any, ...]:
        z, *theta = _kept_primals(ctx)
        moved = [place for place, tangent in enumerate(tangents[3:]) if tangent is not None]
        _, pushforward = linearize(
            lambda *chosen: ctx.problem.equation.residual(z, replaced(theta, moved, chosen)),
            *(theta[place] for place in moved),
        )
        d_residual = pushforward(*(tangents[3 + place] for place in moved))
        d = linear_solve(ctx.problem, z, -d_residual, ctx.rule.backward, ctx.rule.backward_policy, False, theta)
        return d, None, None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], z: torch.Tensor, problem: Problem, solver: Any, rule: Rule, *theta: Any
    ) -> tuple[Any, ...]:
        front, dims = _to_front((in_dims[0], *in_dims[4:]), (z, *theta))
        z = front[0] if dims[0] == 0 else front[0].expand(info.batch_size, *z.shape)
        return _apply(Solve, z, _mapped(problem, dims[1:], info), solver, rule, *front[1:]), (0,) * 5


@final
class LinearSolve(torch.autograd.Function):
    """z, rhs (*E, *B, n), problem, method, policy, transpose, *theta -> u with J u = rhs, or J' u = rhs if `transpose`,
    for J = J_z(z, theta): linear in rhs, its own transpose with the flag flipped."""

    @staticmethod
    def forward(
        z: torch.Tensor,
        rhs: torch.Tensor,
        problem: Problem,
        method: AbstractLinearSolver,
        policy: Policy | None,
        transpose: bool,
        *theta: Any,
    ) -> torch.Tensor:
        operator = problem.at(theta).derivative(z)
        u, info = method.solve(operator.transpose if transpose else operator, rhs)
        return u if policy is None else judge(u, info, policy)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        z, _, *ctx.settings, ctx.transpose = inputs[:6]  # settings: problem, method, policy
        _keep(ctx, (z, output, *inputs[6:]))

    @staticmethod
    @reverse_rule
    def backward(ctx: Any, g: torch.Tensor) -> tuple[Any, ...]:
        z, u, *theta = _kept(ctx)
        w = _solve_again(ctx, z, g, not ctx.transpose, theta)
        wanted = [0] * ctx.needs_input_grad[0]
        wanted += [1 + place for place in range(len(theta)) if ctx.needs_input_grad[6 + place]]
        g_point: list[Any] = [None] * (1 + len(theta))
        if wanted:
            left, right = (u, w) if ctx.transpose else (w, u)
            point = (z, *theta)
            _, pullback = vjp(
                lambda *chosen: _bilinear(ctx.settings[0], replaced(point, wanted, chosen), left, right),
                *(point[place] for place in wanted),
            )
            for place, cotangent in zip(wanted, pullback(-torch.ones((), dtype=g.dtype, device=g.device)), strict=True):
                g_point[place] = cotangent
        return g_point[0], w, None, None, None, None, *g_point[1:]

    @staticmethod
    @forward_rule
    def jvp(ctx: Any, d_z: Any, d_rhs: Any, *tangents: Any) -> torch.Tensor:
        z, u, *theta = _kept_primals(ctx)
        point, d_point = (z, *theta), (d_z, *tangents[4:])
        moved = [place for place, tangent in enumerate(d_point) if tangent is not None]
        rhs = torch.zeros_like(u) if d_rhs is None else d_rhs
        if moved:
            _, pushforward = linearize(
                lambda *chosen: _product(ctx.settings[0], replaced(point, moved, chosen), u, ctx.transpose),
                *(point[place] for place in moved),
            )
            rhs = rhs - pushforward(*(d_point[place] for place in moved))
        return _solve_again(ctx, z, rhs, ctx.transpose, theta)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, ...]:
        z, rhs, problem, method, policy, transpose, *theta = arguments
        front, dims = _to_front((*in_dims[:2], *in_dims[6:]), (z, rhs, *theta))
        if all(dim is None for dim in (dims[0], *dims[2:])):
            return _apply(LinearSolve, z, front[1], problem, method, policy, transpose, *theta), 0
        z = front[0] if dims[0] == 0 else front[0].expand(info.batch_size, *z.shape)
        rhs = front[1] if dims[1] == 0 else front[1].expand(info.batch_size, *rhs.shape)
        further = len(rhs.shape) - len(z.shape)
        mapped = _mapped(problem, dims[2:], info)
        u = _apply(LinearSolve, z, rhs.movedim(0, further), mapped, method, policy, transpose, *front[2:])
        return u.movedim(further, 0), 0


def solve(problem: Problem, z: torch.Tensor, solver: AbstractIteration, rule: Rule) -> tuple[torch.Tensor, Info]:
    """`Solve`"""
    z, *info = _apply(Solve, z, problem, solver, rule, *problem.theta)
    return z, Info(*info)


def cotangents(
    problem: Problem, rule: Rule, z: torch.Tensor, g: torch.Tensor, wanted: Sequence[int]
) -> tuple[torch.Tensor, ...]:
    """g_theta = -J_theta' u with J_z' u = g, for the leaves of theta at the places `wanted`."""
    theta = problem.theta
    u = linear_solve(problem, z, g, rule.backward, rule.backward_policy, True, theta)
    if not wanted:
        return ()
    _, pullback = vjp(
        lambda *chosen: problem.equation.residual(z, replaced(theta, wanted, chosen)),
        *(theta[place] for place in wanted),
    )
    return tuple(-cotangent for cotangent in pullback(u))


def linear_solve(
    problem: Problem,
    z: torch.Tensor,
    rhs: torch.Tensor,
    method: AbstractLinearSolver,
    policy: Policy | None,
    transpose: bool,
    theta: Sequence[Any],
) -> torch.Tensor:
    """`LinearSolve`"""
    result: torch.Tensor = _apply(LinearSolve, z, rhs, problem, method, policy, transpose, *theta)
    return result


def _solve_again(ctx: Any, z: torch.Tensor, rhs: torch.Tensor, transpose: bool, theta: Sequence[Any]) -> torch.Tensor:
    problem, method, policy = ctx.settings
    return linear_solve(problem, z, rhs, method, policy, transpose, theta)


def _product(problem: Problem, point: Sequence[Any], vector: torch.Tensor, transpose: bool) -> torch.Tensor:
    """J vector, or J' vector, at the point (z, *theta)."""
    operator = problem.at(point[1:]).derivative(point[0])
    product: torch.Tensor = (operator.multiply_transposed() if transpose else operator.multiply())(vector)
    return product


def _bilinear(problem: Problem, point: Sequence[Any], left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The sum over all systems of left' J right."""
    return (_product(problem, point, left, True) * right).sum()


def _mapped(problem: Problem, dims: Sequence[Any], info: Any) -> Problem:
    """The problem with a new first batch axis, along which the leaves of theta with a dim differ."""
    equation = problem.equation

    def along(f: Any) -> Any:
        def mapped(z: torch.Tensor, theta: Sequence[Any]) -> Any:
            return torch.func.vmap(lambda z, *theta: f(z, theta), in_dims=(0, *dims), randomness=info.randomness)(
                z, *theta
            )

        return mapped

    objective = None if equation.objective is None else along(equation.objective)
    mapped = Equation(equation.kind, along(equation.residual), objective, equation.function)
    return Problem(problem.framework, mapped, ())


def _to_front(dims: Sequence[Any], tensors: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The tensors with the axis of `vmap` in front, and which have one."""
    front = [tensor if dim is None else tensor.movedim(dim, 0) for tensor, dim in zip(tensors, dims, strict=True)]
    return front, [None if dim is None else 0 for dim in dims]


def _keep(ctx: Any, values: Sequence[Any]) -> None:
    """Save tensors where autograd finds them, and the rest beside them."""
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)
    ctx.others = [None if isinstance(value, torch.Tensor) else (value,) for value in values]


def _kept(ctx: Any) -> list[Any]:
    tensors = iter(ctx.saved_tensors)
    return [next(tensors) if other is None else other[0] for other in ctx.others]


def _kept_primals(ctx: Any) -> list[Any]:
    return [primal(value) if isinstance(value, torch.Tensor) else value for value in _kept(ctx)]


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    return function.apply(*arguments)
