"""The three primitives of the JAX front-end, around `SolutionMap.forward`, `.derivative` and `.second_derivative`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from optlayers.jax.meshes import bind_aligned, place_like, result_aval, usable_outside
from optlayers.solution_map import NO_THIRD_DERIVATIVE, Residuals, SolutionMap

solve_p = Primitive("optlayers_solve")
"""theta (*B, p) -> out (*B, k), and the residuals x (*B, n, 2), v (*B, m, 2), encoded."""
solve_p.multiple_results = True

derivative_p = Primitive("optlayers_derivative")
"""theta, x, v, vector -> J vector, or J' vector if `transpose`: linear in vector, its own transpose with the flag
flipped."""

second_derivative_p = Primitive("optlayers_second_derivative")
"""theta, x, v, first, second -> the derivative along `second` of J first, or of J' first if `transpose`: linear in
`first` and in `second`, its own transpose as `SolutionMap` says."""


def solve(theta: jax.Array, solution_map: SolutionMap) -> jax.Array:
    """theta (*B, p) -> out (*B, k)."""
    out: jax.Array = solve_p.bind(theta, solution_map=solution_map)[0]
    return out


def _solve_on_host(theta: Any, *, solution_map: SolutionMap) -> list[np.ndarray]:
    out, residuals = solution_map.forward(np.asarray(theta, dtype=np.float64))
    return [out.astype(theta.dtype), encode(residuals.x), encode(residuals.v)]


def _solve_shapes(theta: ShapedArray, *, solution_map: SolutionMap) -> list[ShapedArray]:
    words = np.dtype(np.uint32)
    return [
        result_aval([theta], (solution_map.output_size,), theta.dtype),
        *(result_aval([theta], (size, 2), words) for size in solution_map.residual_sizes),
    ]


def _solve_callback(theta: jax.Array, *, solution_map: SolutionMap) -> Sequence[jax.Array]:
    shapes = [
        jax.ShapeDtypeStruct(s.shape, s.dtype) for s in _solve_shapes(jax.typeof(theta), solution_map=solution_map)
    ]
    result: Sequence[jax.Array] = usable_outside(
        jax.pure_callback(partial(_solve_on_host, solution_map=solution_map), shapes, theta)
    )
    return result


def _solve_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, solution_map: SolutionMap) -> tuple[Any, Any]:
    (theta,), (d_theta,) = primals, tangents
    out, x, v = solve_p.bind(theta, solution_map=solution_map)
    if isinstance(d_theta, ad.Zero):
        d_out: Any = _no_tangent(out)
    else:
        d_out = bind_aligned(derivative_p, theta, x, v, d_theta, solution_map=solution_map, transpose=False)
    return [out, x, v], [d_out, _no_tangent(x), _no_tangent(v)]


def _solve_batch(arguments: Sequence[Any], dims: Sequence[Any], *, solution_map: SolutionMap) -> tuple[Any, Any]:
    (theta,), (dim,) = arguments, dims
    return solve_p.bind(jnp.moveaxis(theta, dim, 0), solution_map=solution_map), [0, 0, 0]


def _product_on_host(
    theta: Any, x: Any, v: Any, *vectors: Any, solution_map: SolutionMap, transpose: bool
) -> np.ndarray:
    """The derivative times one vector, or the second derivative times two."""
    residuals = Residuals(np.asarray(theta, dtype=np.float64), decode(np.asarray(x)), decode(np.asarray(v)))
    multiply: Callable[..., np.ndarray] = (
        solution_map.derivative if len(vectors) == 1 else solution_map.second_derivative
    )
    product = multiply(residuals, *(np.asarray(vector, dtype=np.float64) for vector in vectors), transpose)
    return product.astype(vectors[0].dtype)


def _product_shape(
    theta: ShapedArray,
    x: ShapedArray,
    v: ShapedArray,
    *vectors: ShapedArray,
    solution_map: SolutionMap,
    transpose: bool,
) -> ShapedArray:
    size = solution_map.input_size if transpose else solution_map.output_size
    return result_aval([theta, *vectors], (size,), vectors[0].dtype)


def _product_callback(*arguments: jax.Array, **settings: Any) -> jax.Array:
    shape = _product_shape(*(jax.typeof(argument) for argument in arguments), **settings)
    result: jax.Array = usable_outside(
        jax.pure_callback(
            partial(_product_on_host, **settings), jax.ShapeDtypeStruct(shape.shape, shape.dtype), *arguments
        )
    )
    return result


def _derivative_jvp(primals: Sequence[Any], tangents: Sequence[Any], **settings: Any) -> tuple[Any, Any]:
    theta, x, v, vector = primals
    d_theta, _, _, d_vector = tangents
    out = derivative_p.bind(theta, x, v, vector, **settings)
    terms = []
    if not isinstance(d_vector, ad.Zero):
        terms.append(bind_aligned(derivative_p, theta, x, v, d_vector, **settings))
    if not isinstance(d_theta, ad.Zero):
        terms.append(bind_aligned(second_derivative_p, theta, x, v, vector, d_theta, **settings))
    return out, _sum(terms, out)


def _derivative_transpose(
    cotangent: Any, theta: Any, x: Any, v: Any, vector: Any, *, solution_map: SolutionMap, transpose: bool
) -> list[Any]:
    if isinstance(cotangent, ad.Zero):
        return [None, None, None, ad.Zero(vector.aval)]
    product = bind_aligned(derivative_p, theta, x, v, cotangent, solution_map=solution_map, transpose=not transpose)
    return [None, None, None, _sum_to(product, vector.aval)]


def _second_derivative_jvp(primals: Sequence[Any], tangents: Sequence[Any], **settings: Any) -> tuple[Any, Any]:
    theta, x, v, first, second = primals
    d_theta, _, _, d_first, d_second = tangents
    if not isinstance(d_theta, ad.Zero):
        raise DerivativeError(NO_THIRD_DERIVATIVE)
    out = second_derivative_p.bind(theta, x, v, first, second, **settings)
    terms = []
    if not isinstance(d_first, ad.Zero):
        terms.append(bind_aligned(second_derivative_p, theta, x, v, d_first, second, **settings))
    if not isinstance(d_second, ad.Zero):
        terms.append(bind_aligned(second_derivative_p, theta, x, v, first, d_second, **settings))
    return out, _sum(terms, out)


def _second_derivative_transpose(
    cotangent: Any, theta: Any, x: Any, v: Any, first: Any, second: Any, *, solution_map: SolutionMap, transpose: bool
) -> list[Any]:
    linear = first if ad.is_undefined_primal(first) else second
    if isinstance(cotangent, ad.Zero):
        product: Any = ad.Zero(linear.aval)
    else:
        bind = partial(bind_aligned, second_derivative_p, theta, x, v, solution_map=solution_map)
        if linear is second:
            product = bind(first, cotangent, transpose=True) if transpose else bind(cotangent, first, transpose=True)
        else:
            product = bind(cotangent, second, transpose=not transpose)
        product = _sum_to(product, linear.aval)
    return [None, None, None, product, None] if linear is first else [None, None, None, None, product]


def _batch(primitive: Primitive, arguments: Sequence[Any], dims: Sequence[Any], **settings: Any) -> tuple[Any, int]:
    """Arguments without the new axis get it with length one: what is shared by the batch is computed once."""
    parts = [
        array[None] if dim is None else jnp.moveaxis(array, dim, 0) for array, dim in zip(arguments, dims, strict=True)
    ]
    return primitive.bind(*parts, **settings), 0


def _sum(terms: Sequence[Any], out: Any) -> Any:
    """The sum of the terms that there are, of the shape of out."""
    return sum(terms[1:], terms[0]) if terms else _no_tangent(out)


def _sum_to(array: jax.Array, aval: Any) -> jax.Array:
    """The sum over the axes along which an array of this shape was broadcast."""
    stretched = [axis for axis, size in enumerate(aval.shape) if array.shape[axis] != size]
    return jnp.sum(array, axis=tuple(stretched), keepdims=True) if stretched else array


def _no_tangent(primal: Any) -> Any:
    return ad.Zero(jax.typeof(primal).to_tangent_aval())


def _register() -> None:
    solve_p.def_impl(
        lambda theta, **settings: [place_like(array, [theta]) for array in _solve_on_host(theta, **settings)]
    )
    solve_p.def_abstract_eval(_solve_shapes)
    mlir.register_lowering(solve_p, mlir.lower_fun(_solve_callback, multiple_results=True))
    ad.primitive_jvps[solve_p] = _solve_jvp
    batching.primitive_batchers[solve_p] = _solve_batch

    for primitive, jvp, transposed in (
        (derivative_p, _derivative_jvp, _derivative_transpose),
        (second_derivative_p, _second_derivative_jvp, _second_derivative_transpose),
    ):
        primitive.def_impl(
            lambda *arrays, **settings: place_like(_product_on_host(*arrays, **settings), [arrays[0], *arrays[3:]])
        )
        primitive.def_abstract_eval(_product_shape)
        mlir.register_lowering(primitive, mlir.lower_fun(_product_callback, multiple_results=False))
        ad.primitive_jvps[primitive] = jvp
        ad.primitive_transposes[primitive] = transposed
        batching.primitive_batchers[primitive] = partial(_batch, primitive)


_register()
