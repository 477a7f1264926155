"""The two primitives of the implicit layers: the solution of an equation, whose derivative is the solution of linear
systems; and that, whose derivative and whose transpose are itself again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch

from optlayers.errors import DerivativeError
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
    examined,
    run,
)
from optlayers.implicit.stopping import largest
from optlayers.torch.function_rules import forward_rule, primal, reverse_rule
from optlayers.torch.products import linearize, replaced, vjp
from optlayers.torch.wrapped import numbers


def judge(value: torch.Tensor, info: Info | LinearInfo, policy: Policy) -> torch.Tensor:
    """The value, after the policy has been applied to how it was found."""
    review(info, policy)
    return without_failures(value, info, policy)


def review(info: Info | LinearInfo, policy: Policy) -> None:
    """Say what the policy has to say."""
    policy.review(type(info)(*(numbers(array) for array in info)))


def without_failures(value: torch.Tensor, info: Info | LinearInfo, policy: Policy) -> torch.Tensor:
    """The value; NaN where none was found, if the policy says so."""
    return torch.where(info.solved[..., None], value, torch.nan) if policy.on_failure is OnFailure.NAN else value


@final
class Solve(torch.autograd.Function):
    """z0 (*B, n), problem, solver, rule, *theta -> z (*B, n), and its `Info`. The theta of the problem is not read."""

    @staticmethod
    def forward(
        z: torch.Tensor, problem: Problem, solver: AbstractIteration, rule: Rule, *theta: Any
    ) -> tuple[torch.Tensor, ...]:
        found, info = run(problem.at(theta), solver, z)
        review(info, rule.forward_policy)
        # An output must not be the input itself, as it is where z0 is a solution.
        return found.clone() if found is z else found, *info

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        _, ctx.problem, _, ctx.rule, *theta = inputs
        z, *info = output
        ctx.mark_non_differentiable(*info)
        _keep(ctx, (z, *info, *theta))

    @staticmethod
    @reverse_rule
    def backward(ctx: Any, g: torch.Tensor, *unused: Any) -> tuple[Any, ...]:
        z, info, theta = _solution(_kept(ctx))
        wanted = [place for place in range(len(theta)) if ctx.needs_input_grad[4 + place]]
        g_theta: list[Any] = [None] * len(theta)
        found = cotangents(ctx.problem.at(theta), ctx.rule, z, g, wanted, info)
        for place, cotangent in zip(wanted, found, strict=True):
            g_theta[place] = cotangent
        return None, None, None, None, *g_theta

    @staticmethod
    @forward_rule
    def jvp(ctx: Any, d_z: Any, *tangents: Any) -> tuple[Any, ...]:
        z, info, theta = _solution(_kept(ctx))
        z, *theta = _primals([z, *theta])
        moved = [place for place, tangent in enumerate(tangents[3:]) if tangent is not None]
        _, pushforward = linearize(
            lambda *chosen: ctx.problem.equation.residual(z, replaced(theta, moved, chosen)),
            *(theta[place] for place in moved),
        )
        d_residual = pushforward(*(tangents[3 + place] for place in moved))
        rhs = without_failures(-d_residual, info, ctx.rule.forward_policy)
        d = linear_solve(z, rhs, _system(ctx.problem, ctx.rule, transpose=False), theta)
        return d, None, None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], z: torch.Tensor, problem: Problem, solver: Any, rule: Rule, *theta: Any
    ) -> tuple[Any, ...]:
        front, dims = _to_front((in_dims[0], *in_dims[4:]), (z, *theta))
        z = front[0] if dims[0] == 0 else front[0].expand(info.batch_size, *z.shape)
        return _apply(Solve, z, _mapped(problem, dims[1:], info), solver, rule, *front[1:]), (0,) * 5


@final
@dataclass(frozen=True, eq=False)
class System:
    """J u = rhs, or J' u = rhs if `transpose`, for J = J_z(z, theta); the theta of the problem is not read.

    policy: judges how it was solved; None: the caller does.
    policy_of_derivatives: the same for the systems of its derivatives.
    cotangent: whether rhs is one, so that 0 asks nothing; of a tangent, 0 says nothing.
    """

    problem: Problem
    method: AbstractLinearSolver
    policy: Policy | None
    policy_of_derivatives: Policy | None
    transpose: bool
    cotangent: bool

    def of_derivative(self, transpose: bool, cotangent: bool) -> System:
        """That of a derivative of u."""
        policy = self.policy_of_derivatives
        return replace(self, policy=policy, transpose=transpose, cotangent=cotangent)


@final
class LinearSolve(torch.autograd.Function):
    """z, rhs (*E, *B, n), system, *theta -> u: linear in rhs, its own transpose with the flag flipped."""

    @staticmethod
    def forward(z: torch.Tensor, rhs: torch.Tensor, system: System, *theta: Any) -> torch.Tensor:
        problem = system.problem.at(theta)
        operator = problem.derivative(z)
        found = system.method.solve(operator.transpose if system.transpose else operator, rhs)
        u: torch.Tensor = found.u
        if system.policy is None:
            return u
        u, info = examined(problem, z, rhs, found, transpose=system.transpose, cotangent=system.cotangent)
        return judge(u, info, system.policy)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        z, _, ctx.system, *theta = inputs
        _keep(ctx, (z, output, *theta))

    @staticmethod
    @reverse_rule
    def backward(ctx: Any, g: torch.Tensor) -> tuple[Any, ...]:
        z, u, *theta = _kept(ctx)
        system = ctx.system
        w = linear_solve(z, g, system.of_derivative(not system.transpose, cotangent=True), theta)
        wanted = [0] * ctx.needs_input_grad[0]
        wanted += [1 + place for place in range(len(theta)) if ctx.needs_input_grad[3 + place]]
        g_point: list[Any] = [None] * (1 + len(theta))
        if wanted:
            left, right = (u, w) if system.transpose else (w, u)
            point = (z, *theta)
            _, pullback = vjp(
                lambda *chosen: _bilinear(system.problem, replaced(point, wanted, chosen), left, right),
                *(point[place] for place in wanted),
            )
            for place, cotangent in zip(wanted, pullback(-torch.ones((), dtype=g.dtype, device=g.device)), strict=True):
                g_point[place] = cotangent
        return g_point[0], w, None, *g_point[1:]

    @staticmethod
    @forward_rule
    def jvp(ctx: Any, d_z: Any, d_rhs: Any, *tangents: Any) -> torch.Tensor:
        z, u, *theta = _primals(_kept(ctx))
        system = ctx.system
        point, d_point = (z, *theta), (d_z, *tangents[1:])
        moved = [place for place, tangent in enumerate(d_point) if tangent is not None]
        rhs = torch.zeros_like(u) if d_rhs is None else d_rhs
        if moved:
            _, pushforward = linearize(
                lambda *chosen: _product(system.problem, replaced(point, moved, chosen), u, system.transpose),
                *(point[place] for place in moved),
            )
            rhs = rhs - pushforward(*(d_point[place] for place in moved))
        return linear_solve(z, rhs, system.of_derivative(system.transpose, cotangent=False), theta)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, ...]:
        z, rhs, system, *theta = arguments
        front, dims = _to_front((*in_dims[:2], *in_dims[3:]), (z, rhs, *theta))
        if all(dim is None for dim in (dims[0], *dims[2:])):
            return _apply(LinearSolve, z, front[1], system, *theta), 0
        z = front[0] if dims[0] == 0 else front[0].expand(info.batch_size, *z.shape)
        rhs = front[1] if dims[1] == 0 else front[1].expand(info.batch_size, *rhs.shape)
        further = len(rhs.shape) - len(z.shape)
        mapped = replace(system, problem=_mapped(system.problem, dims[2:], info))
        u = _apply(LinearSolve, z, rhs.movedim(0, further), mapped, *front[2:])
        return u.movedim(further, 0), 0


def solve(problem: Problem, z: torch.Tensor, solver: AbstractIteration, rule: Rule) -> tuple[torch.Tensor, Info]:
    """`Solve`"""
    z, *info = _apply(Solve, z, problem, solver, rule, *problem.theta)
    # A sum, so that the cotangents of failures reach the rule, and make NaN of what depends on them.
    return z + without_failures(torch.zeros_like(z), Info(*info), rule.forward_policy), Info(*info)


def cotangents(
    problem: Problem,
    rule: Rule,
    z: torch.Tensor,
    g: torch.Tensor,
    wanted: Sequence[int],
    info: Info | None = None,
) -> tuple[torch.Tensor, ...]:
    """g_theta = -J_theta' u with J_z' u = g, for the leaves of theta at the places `wanted`.

    info: how z was found. If failures are to be NaN, u is so for their g, but 0 where g is, which asks nothing. Raises
    `DerivativeError` where the residual is another one now.
    """
    theta, system = problem.theta, _system(problem, rule, transpose=True)
    if info is None or rule.forward_policy.on_failure is not OnFailure.NAN:
        u = linear_solve(z, g, system, theta)
    else:
        asked = (g != 0).any(dim=-1, keepdim=True)
        g = torch.where(asked, without_failures(g, info, rule.forward_policy), g)
        u = torch.where(asked, linear_solve(z, g, system, theta), 0)
    if not wanted:
        return ()
    value, pullback = vjp(
        lambda *chosen: problem.equation.residual(z, replaced(theta, wanted, chosen)),
        *(theta[place] for place in wanted),
    )
    if info is not None:
        _check_unchanged(problem, z, value, info.residual)
    return tuple(-cotangent for cotangent in pullback(u))


def _system(problem: Problem, rule: Rule, transpose: bool) -> System:
    """That of the implicit rule, in reverse mode if `transpose`, in forward mode otherwise."""
    policy = rule.backward_policy
    return System(problem, rule.backward, policy, policy, transpose, cotangent=transpose)


def _check_unchanged(problem: Problem, z: torch.Tensor, value: torch.Tensor, residual: torch.Tensor) -> None:
    """Raise `DerivativeError` where F(z, theta) is not what it was, by more than rounding explains."""
    rounding = torch.finfo(z.dtype).eps ** (2 / 3) * (1 + largest(torch, z))
    changed = numbers(largest(torch, value) > 2 * residual + rounding)
    if changed.any():
        index = tuple(int(place) for place in np.argwhere(changed)[0])
        where = f" of batch index {index}" if index else ""
        raise DerivativeError(
            f"the solution{where} no longer solves its equation: the function given to {problem.equation.kind} has "
            "other values than when it was solved. An array that it takes from outside was changed in place since, or "
            "it is random. Pass the array through theta, or change a copy."
        )


def linear_solve(z: torch.Tensor, rhs: torch.Tensor, system: System, theta: Sequence[Any]) -> torch.Tensor:
    """`LinearSolve`"""
    result: torch.Tensor = _apply(LinearSolve, z, rhs, system, *theta)
    return result


def step(problem: Problem, z: torch.Tensor, rhs: torch.Tensor, method: AbstractLinearSolver) -> torch.Tensor:
    """u with J u = rhs, for a step of an iteration, which judges it itself."""
    system = System(problem, method, None, problem.policy, transpose=False, cotangent=False)
    return linear_solve(z, rhs, system, problem.theta)


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


def _solution(kept: list[Any]) -> tuple[torch.Tensor, Info, list[Any]]:
    """z, its report, and theta."""
    z, *others = kept
    size = len(Info._fields)
    return z, Info(*others[:size]), others[size:]


def _primals(values: list[Any]) -> list[Any]:
    return [primal(value) if isinstance(value, torch.Tensor) else value for value in values]


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    return function.apply(*arguments)
