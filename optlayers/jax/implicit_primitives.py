"""The two primitives of the implicit layers: the solution of an equation, whose derivative is the solution of linear
systems; and that, whose derivative and whose transpose are itself again (`jax.lax.custom_linear_solve`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero, zero_from_primal

from optlayers.errors import CaptureError
from optlayers.implicit import (
    AbstractIteration,
    AbstractLinearSolver,
    Info,
    LinearInfo,
    LinearOperator,
    OnFailure,
    Policy,
    Problem,
    Rule,
    captured,
    examined,
    run,
)
from optlayers.jax.meshes import alike

Function = Callable[[Any], Any]


def judge(value: jax.Array, info: Info | LinearInfo, policy: Policy) -> jax.Array:
    """The value, after the policy has been applied to how it was found."""
    return review(without_failures(value, info, policy), info, policy)


def review(value: jax.Array, info: Info | LinearInfo, policy: Policy) -> jax.Array:
    """The value, after the policy has said what it has to say; on the host, if that is anything."""
    if not any(isinstance(array, jax.core.Tracer) for array in info):
        policy.review(type(info)(*map(np.asarray, info)))
        return value

    def on_host(value: Any, *report: Any) -> Any:
        policy.review(type(info)(*map(np.asarray, report)))
        return value

    def say(value: jax.Array, info: Info | LinearInfo) -> jax.Array:
        shape = jax.ShapeDtypeStruct(value.shape, value.dtype)
        result: jax.Array = alike(jax.pure_callback(on_host, shape, value, *info, vmap_method="broadcast_all"), value)
        return result

    if policy.monitor is not None:
        return say(value, info)

    @jax.custom_batching.custom_vmap
    def said(value: jax.Array, info: Info | LinearInfo) -> jax.Array:
        result: jax.Array = jax.lax.cond(jnp.any(policy.remarkable(info)), say, lambda value, _: value, value, info)
        return result

    # By itself, vmap would let each element decide, that is, call the host in every case.
    @said.def_vmap
    def along_a_new_axis(size: int, batched: Any, value: jax.Array, info: Any) -> tuple[jax.Array, bool]:
        whole = jax.tree.map(
            lambda array, has_axis: array if has_axis else jnp.broadcast_to(array, (size, *array.shape)),
            (value, info),
            tuple(batched),
        )
        return said(*whole), True

    result: jax.Array = said(value, info)
    return result


def without_failures(value: jax.Array, info: Info | LinearInfo, policy: Policy) -> jax.Array:
    """The value; NaN where none was found, if the policy says so."""
    return jnp.where(info.solved[..., None], value, jnp.nan) if policy.on_failure is OnFailure.NAN else value


def solve(problem: Problem, z: jax.Array, solver: AbstractIteration, rule: Rule) -> tuple[jax.Array, Info]:
    """The solution from z, differentiable in theta."""

    held: list[Any] = []
    for each in (solver, rule.backward):
        each.mapped(lambda array: held.append(array) or array)  # type: ignore[func-returns-value]

    def solvers(held: list[Any]) -> tuple[AbstractIteration, AbstractLinearSolver]:
        arrays = iter(held)
        return solver.mapped(lambda _: next(arrays)), rule.backward.mapped(lambda _: next(arrays))

    @jax.custom_jvp
    def solution(z: jax.Array, theta: tuple[Any, ...], held: list[Any]) -> tuple[jax.Array, Info]:
        found, info = run(problem.at(theta), solvers(held)[0], z)
        return review(found, info, rule.forward_policy), info

    @partial(solution.defjvp, symbolic_zeros=True)
    def derivative(primals: Any, tangents: Any) -> tuple[Any, Any]:
        start, theta, held = primals
        moved = [place for place, tangent in enumerate(tangents[1]) if not isinstance(tangent, SymbolicZero)]
        if any(place >= len(theta) - problem.captured for place in moved):
            raise CaptureError(captured(problem, "needs a derivative", MODULES, _is_traced))
        found, info = solution(start, theta, held)

        def residual(chosen: list[Any]) -> jax.Array:
            every = list(theta)
            for place, leaf in zip(moved, chosen, strict=True):
                every[place] = leaf
            value: jax.Array = problem.equation.residual(found, tuple(every))
            return value

        chosen, along = [theta[place] for place in moved], [tangents[1][place] for place in moved]
        _, d_residual = jax.jvp(residual, (chosen,), (along,))
        failed = ~info.solved if rule.forward_policy.on_failure is OnFailure.NAN else None
        method, policy = solvers(held)[1], rule.backward_policy
        d_found = linear_solve(problem.at(theta), found, -d_residual, method, policy, policy, failed)
        d_found = d_found + without_failures(jnp.zeros_like(found), info, rule.forward_policy)
        return (found, info), (d_found, jax.tree.map(lambda array: zero_from_primal(array, symbolic_zeros=True), info))

    z, info = solution(z, problem.theta, held)
    # A sum, so that the cotangents of failures reach the rule, and make NaN of what depends on them.
    return z + without_failures(jnp.zeros_like(z), info, rule.forward_policy), info


def linear_solve(
    problem: Problem,
    z: jax.Array,
    rhs: jax.Array,
    method: AbstractLinearSolver,
    policy: Policy | None,
    policy_of_cotangents: Policy | None,
    failed: jax.Array | None = None,
) -> jax.Array:
    """u with J_z(z, theta) u = rhs; where z has `failed`, 0, but NaN for cotangents that are not 0.

    The policies judge how it was solved, and how the transposed system was; None: nobody does.
    """

    def solution(transpose: bool, product: Function, rhs: jax.Array) -> jax.Array:
        def multiply(v: jax.Array) -> jax.Array:
            u: jax.Array = product(alike(v, rhs))
            return u

        operator = LinearOperator(
            problem.framework, rhs, lambda: multiply, lambda: transposed(multiply, rhs), transposed=transpose
        )
        if failed is not None:
            asked = jnp.any(rhs != 0, axis=-1) & transpose
            rhs = jnp.where(failed[..., None], jnp.where(asked[..., None], jnp.nan, 0.0), rhs)
        found = method.solve(operator, rhs)
        u: jax.Array = found.u
        judging = policy_of_cotangents if transpose else policy
        if judging is None:
            return u
        cotangent = transpose if failed is None else failed | transpose
        u, info = examined(problem, z, rhs, found, transpose=transpose, cotangent=cotangent)
        return judge(u, info, judging)

    _, product = jax.linearize(problem.residual, z)
    result: jax.Array = jax.lax.custom_linear_solve(
        product, rhs, partial(solution, False), transpose_solve=partial(solution, True)
    )
    return result


def step(problem: Problem, z: jax.Array, rhs: jax.Array, method: AbstractLinearSolver) -> jax.Array:
    """u with J_z(z, theta) u = rhs, for a step of an iteration, which judges it itself."""
    return linear_solve(problem, z, rhs, method, None, problem.policy)


def transposed(linear: Function, like: jax.Array) -> Function:
    """The transpose of a linear function of arrays like `like`."""
    pullback: Callable[[Any], Any] = jax.linear_transpose(linear, like)
    return lambda u: pullback(alike(u, like))[0]


MODULES = "for an Equinox or Flax module, the module"


def _is_traced(value: object) -> bool:
    return isinstance(value, jax.core.Tracer)
