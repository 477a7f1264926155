"""JAX, as the implicit layers need it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from optlayers.errors import ArgumentError, CaptureError
from optlayers.implicit import AbstractIteration, AbstractLinearSolver, Equation, Info, Policy, Problem, Rule
from optlayers.jax import elimination, implicit_primitives
from optlayers.jax.meshes import aligned, alike, of_type, varying, varying_of

Function = Callable[[Any], Any]


@final
class JaxFramework:
    """`optlayers.implicit.Framework` for JAX."""

    @property
    def xp(self) -> Any:
        return jnp

    def linearize(self, f: Function, z: jax.Array) -> tuple[jax.Array, Function]:
        value, pushforward = jax.linearize(f, z)
        return value, lambda d: pushforward(alike(d, z))

    def vjp(self, f: Function, z: jax.Array) -> tuple[jax.Array, Function]:
        value, pullback = jax.vjp(f, z)
        return value, lambda u: pullback(alike(u, value))[0]

    def transpose(self, linear: Function, like: jax.Array) -> Function:
        return implicit_primitives.transposed(linear, like)

    def map(self, f: Function) -> Function:
        return jax.vmap(f)

    def eye(self, n: int, like: jax.Array) -> jax.Array:
        return jnp.eye(n, dtype=like.dtype)

    def while_loop(self, going: Function, body: Function, state: Any) -> Any:
        # Outside of jit, a loop in Python spares the compilation of one that would be met only once.
        while not isinstance(more := jnp.any(going(state)), jax.core.Tracer):
            if not more:
                return state
            state = body(state)
        return jax.lax.while_loop(lambda state: jnp.any(going(state)), *aligned(body, state))

    def unrolled_loop(self, going: Function, body: Function, state: Any, limit: int, checkpoint: bool) -> Any:
        body, state = aligned(body, state)
        advance = jax.checkpoint(body) if checkpoint else body

        def round(state: Any, _: None) -> tuple[Any, None]:
            return jax.lax.cond(jnp.any(going(state)), advance, lambda state: state, state), None

        return jax.lax.scan(round, state, None, length=limit)[0]

    def constant(self, tree: Any) -> Any:
        return jax.tree.map(jax.lax.stop_gradient, tree)

    def factor(self, matrix: jax.Array) -> Callable[[jax.Array, bool], jax.Array]:
        return elimination.factor(matrix)

    def flatten(self, tree: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
        """The leaves are the arrays and numbers of the tree; what else it holds is fixed."""
        leaves, structure = jax.tree.flatten(tree)
        places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, NUMBERS)]

        def rebuild(chosen: Sequence[Any]) -> Any:
            complete = list(leaves)
            for place, leaf in zip(places, chosen, strict=True):
                complete[place] = leaf
            return jax.tree.unflatten(structure, complete)

        return [jnp.asarray(leaves[place]) for place in places], rebuild

    def structure(self, tree: Any) -> Any:
        return jax.tree.structure(tree)

    def is_array(self, leaf: Any) -> bool:
        return isinstance(leaf, jax.Array)

    def enter(self, compute: Callable[[Any, Any], Any], z0: Any, theta: Any) -> Any:
        return compute(z0, theta)

    def enclose(self, problem: Problem, z: jax.Array) -> tuple[Problem, jax.Array]:
        equation, theta = problem.equation, problem.theta
        _check_real("z0", z.dtype)
        z = _where_the_batch_is(problem, z)
        residual, objective = equation.residual, equation.objective
        parts = [residual] if objective is None else [residual, objective]
        converted = [jax.closure_convert(part, z, theta) for part in parts]
        own = len(theta)
        functions = []
        for function, values in converted:
            place = len(theta)
            theta = (*theta, *values)
            functions.append(_without_captures(function, own, slice(place, len(theta))))
        dtype = jax.eval_shape(residual, z, problem.theta).dtype
        if dtype not in (jnp.float32, jnp.float64):
            raise ArgumentError(
                f"the function given to {problem.equation.kind} has values of {dtype}, in which no equation is solved: "
                "convert z0 and theta with .astype(float)."
            )
        phi = functions[1] if len(functions) > 1 else None
        enclosed = Equation(equation.kind, functions[0], phi, equation.function)
        return Problem(self, enclosed, theta, len(theta) - own), z.astype(dtype)

    def judge(self, value: jax.Array, info: Any, policy: Policy) -> jax.Array:
        return implicit_primitives.judge(value, info, policy)

    def solve(self, problem: Problem, z: jax.Array, solver: AbstractIteration, rule: Rule) -> tuple[jax.Array, Info]:
        try:
            return implicit_primitives.solve(problem, z, solver, rule)
        except jax.errors.UnexpectedTracerError as error:
            raise CaptureError(
                "a function that was given as a solver, or to Preconditioner, takes from outside a value that needs a "
                "derivative. It has none by a solver: give the function jax.lax.stop_gradient(value) in its place."
            ) from error

    def linear_solve(self, problem: Problem, z: jax.Array, rhs: jax.Array, method: AbstractLinearSolver) -> jax.Array:
        return implicit_primitives.step(problem, z, rhs, method)


def _check_real(name: str, dtype: Any) -> None:
    """Raise `ArgumentError` for complex numbers: their derivatives by real and imaginary part would not all be seen."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise ArgumentError(
            f"{name} has dtype {dtype}; real numbers are expected. Take the real and the imaginary part as two "
            "unknowns."
        )


def _where_the_batch_is(problem: Problem, z: jax.Array) -> jax.Array:
    """z, laid out over a mesh as the values of the functions are: z0 may be a constant where theta is not."""
    if jax.sharding.get_abstract_mesh().empty:
        return z
    of_theta = (varying(leaf) for leaf in problem.theta)
    z = of_type(z, jax.typeof(z), frozenset().union(varying(z), *of_theta))
    function = problem.equation.objective or problem.equation.residual
    (value,) = jax.make_jaxpr(function)(z, problem.theta).out_avals
    spec = jax.sharding.PartitionSpec(*value.sharding.spec[: z.ndim - 1], None)
    placed: jax.Array = of_type(z, jax.typeof(z).update(sharding=value.sharding.update(spec=spec)), varying_of(value))
    return placed


def _without_captures(function: Callable[..., Any], own: int, captures: slice) -> Callable[[Any, Any], Any]:
    """The function, which takes from the end of theta what it captured."""
    return lambda z, theta: function(z, theta[:own], *theta[captures])


NUMBERS = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)
"""The types of leaves that are parameters."""

JAX = JaxFramework()
