"""The two primitives of the JAX front-end, around `SolutionMap.forward` and `.derivative`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from optlayers.errors import DerivativeError
from optlayers.jax.arrays import decode, encode
from optlayers.solution_map import Residuals, SolutionMap

solve_p = Primitive("optlayers_solve")
"""theta (*B, p) -> out (*B, k), and the residuals x (*B, n, 2), v (*B, m, 2), encoded."""
solve_p.multiple_results = True

derivative_p = Primitive("optlayers_derivative")
"""theta, x, v, vector -> J vector, or J' vector if `transpose`: linear in vector, its own transpose with the flag
flipped."""


def solve(theta: jax.Array, solution_map: SolutionMap) -> jax.Array:
    """theta (*B, p) -> out (*B, k)."""
    out: jax.Array = solve_p.bind(theta, solution_map=solution_map)[0]
    return out


def _solve_on_host(theta: Any, *, solution_map: SolutionMap) -> list[np.ndarray]:
    out, residuals = solution_map.forward(np.asarray(theta, dtype=np.float64))
    return [out.astype(theta.dtype), encode(residuals.x), encode(residuals.v)]


def _solve_shapes(theta: ShapedArray, *, solution_map: SolutionMap) -> list[ShapedArray]:
    batch = theta.shape[:-1]
    return [
        ShapedArray((*batch, solution_map.output_size), theta.dtype),
        *(ShapedArray((*batch, size, 2), np.dtype(np.uint32)) for size in solution_map.residual_sizes),
    ]


def _solve_callback(theta: jax.Array, *, solution_map: SolutionMap) -> Sequence[jax.Array]:
    shapes = [
        jax.ShapeDtypeStruct(s.shape, s.dtype) for s in _solve_shapes(jax.typeof(theta), solution_map=solution_map)
    ]
    result: Sequence[jax.Array] = jax.pure_callback(partial(_solve_on_host, solution_map=solution_map), shapes, theta)
    return result


def _solve_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, solution_map: SolutionMap) -> tuple[Any, Any]:
    (theta,), (d_theta,) = primals, tangents
    out, x, v = solve_p.bind(theta, solution_map=solution_map)
    if isinstance(d_theta, ad.Zero):
        d_out: Any = _no_tangent(out)
    else:
        d_out = derivative_p.bind(theta, x, v, d_theta, solution_map=solution_map, transpose=False)
    return [out, x, v], [d_out, _no_tangent(x), _no_tangent(v)]


def _solve_batch(arguments: Sequence[Any], dims: Sequence[Any], *, solution_map: SolutionMap) -> tuple[Any, Any]:
    (theta,), (dim,) = arguments, dims
    return solve_p.bind(jnp.moveaxis(theta, dim, 0), solution_map=solution_map), [0, 0, 0]


def _derivative_on_host(
    theta: Any, x: Any, v: Any, vector: Any, *, solution_map: SolutionMap, transpose: bool
) -> np.ndarray:
    residuals = Residuals(np.asarray(theta, dtype=np.float64), decode(np.asarray(x)), decode(np.asarray(v)))
    product = solution_map.derivative(residuals, np.asarray(vector, dtype=np.float64), transpose)
    return product.astype(vector.dtype)


def _derivative_shape(
    theta: ShapedArray,
    x: ShapedArray,
    v: ShapedArray,
    vector: ShapedArray,
    *,
    solution_map: SolutionMap,
    transpose: bool,
) -> ShapedArray:
    size = solution_map.input_size if transpose else solution_map.output_size
    return ShapedArray((*vector.shape[:-1], size), vector.dtype)


def _derivative_callback(*arguments: jax.Array, solution_map: SolutionMap, transpose: bool) -> jax.Array:
    shape = _derivative_shape(
        *(jax.typeof(argument) for argument in arguments), solution_map=solution_map, transpose=transpose
    )
    result: jax.Array = jax.pure_callback(
        partial(_derivative_on_host, solution_map=solution_map, transpose=transpose),
        jax.ShapeDtypeStruct(shape.shape, shape.dtype),
        *arguments,
    )
    return result


def _derivative_jvp(primals: Sequence[Any], tangents: Sequence[Any], **settings: Any) -> tuple[Any, Any]:
    theta, x, v, vector = primals
    if not isinstance(tangents[0], ad.Zero):
        raise DerivativeError(
            "second derivatives through the solution are not available in this version. Use jax.lax.stop_gradient on "
            "the first derivative, or take differences of gradients."
        )
    out = derivative_p.bind(theta, x, v, vector, **settings)
    if isinstance(tangents[3], ad.Zero):
        return out, _no_tangent(out)
    return out, derivative_p.bind(theta, x, v, tangents[3], **settings)


def _derivative_transpose(
    cotangent: Any, theta: Any, x: Any, v: Any, vector: Any, *, solution_map: SolutionMap, transpose: bool
) -> list[Any]:
    if isinstance(cotangent, ad.Zero):
        return [None, None, None, ad.Zero(vector.aval)]
    product = derivative_p.bind(theta, x, v, cotangent, solution_map=solution_map, transpose=not transpose)
    return [None, None, None, product]


def _derivative_batch(arguments: Sequence[Any], dims: Sequence[Any], **settings: Any) -> tuple[Any, int]:
    count = next(array.shape[dim] for array, dim in zip(arguments, dims, strict=True) if dim is not None)
    parts = [
        array[None] if dim is None else jnp.moveaxis(array, dim, 0) for array, dim in zip(arguments, dims, strict=True)
    ]
    parts[3] = jnp.broadcast_to(parts[3], (count, *parts[3].shape[1:]))
    return derivative_p.bind(*parts, **settings), 0


def _no_tangent(primal: Any) -> Any:
    return ad.Zero(jax.typeof(primal).to_tangent_aval())


def _register() -> None:
    solve_p.def_impl(lambda theta, **settings: [jnp.asarray(array) for array in _solve_on_host(theta, **settings)])
    solve_p.def_abstract_eval(_solve_shapes)
    mlir.register_lowering(solve_p, mlir.lower_fun(_solve_callback, multiple_results=True))
    ad.primitive_jvps[solve_p] = _solve_jvp
    batching.primitive_batchers[solve_p] = _solve_batch

    derivative_p.def_impl(lambda *arrays, **settings: jnp.asarray(_derivative_on_host(*arrays, **settings)))
    derivative_p.def_abstract_eval(_derivative_shape)
    mlir.register_lowering(derivative_p, mlir.lower_fun(_derivative_callback, multiple_results=False))
    ad.primitive_jvps[derivative_p] = _derivative_jvp
    ad.primitive_transposes[derivative_p] = _derivative_transpose
    batching.primitive_batchers[derivative_p] = _derivative_batch


_register()
