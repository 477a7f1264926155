"""Where results lie: on which device, and along which mesh axes, as `jax.shard_map` and explicit meshes ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.sharding import NamedSharding, PartitionSpec, Sharding


def bind_aligned(primitive: Primitive, *arrays: Any, **settings: Any) -> Any:
    """The primitive of arrays that all vary along the same mesh axes: those along which one of them does."""
    axes = [varying(array) for array in arrays]
    union = frozenset().union(*axes)
    aligned = [
        array if own == union else jax.lax.pcast(array, tuple(union - own), to="varying")
        for array, own in zip(arrays, axes, strict=True)
    ]
    return primitive.bind(*aligned, **settings)


def alike(array: Any, like: Any) -> Any:
    """The array, varying along the mesh axes along which `like` does, too, and laid out as `like` is.

    Constants vary along none and are laid out along none; what they meet does, and JAX wants types to agree.
    """
    return of_type(array, jax.typeof(like), varying(like))


def aligned(body: Callable[[Any], Any], state: Any) -> tuple[Callable[[Any], Any], Any]:
    """A loop's body and its first state, with types that the body does not change."""
    if jax.sharding.get_abstract_mesh().empty:
        return body, state
    types = jax.make_jaxpr(body)(state).out_avals
    axes = frozenset().union(*(varying_of(aval) for aval in types))

    def typed(state: Any) -> Any:
        leaves, structure = jax.tree.flatten(state)
        cast = [of_type(leaf, aval, axes) for leaf, aval in zip(leaves, types, strict=True)]
        return jax.tree.unflatten(structure, cast)

    return lambda state: typed(body(state)), typed(state)


def of_type(array: Any, aval: Any, axes: frozenset[Any]) -> Any:
    """The array, varying along these axes, and laid out as the type says."""
    missing = axes - varying(array)
    if missing:
        array = jax.lax.pcast(array, tuple(missing), to="varying")
    spec = aval.sharding.spec
    if any(name is not None for name in spec) and jax.typeof(array).sharding.spec != spec:
        array = jax.sharding.reshard(array, spec)
    return array


def result_aval(operands: Sequence[ShapedArray], tail: tuple[int, ...], dtype: Any) -> ShapedArray:
    """The type of a result that has the leading axes of the operands, all but their last one, broadcast, and then
    `tail`; it is laid out as they are."""
    lead = np.broadcast_shapes(*(operand.shape[:-1] for operand in operands))
    axes: list[Any] = [None] * len(lead)
    for operand in operands:
        for axis, name in enumerate(operand.sharding.spec[: len(lead)]):
            axes[axis] = axes[axis] or name
    sharding = NamedSharding(operands[0].sharding.mesh, PartitionSpec(*axes, *(None for _ in tail)))
    aval: ShapedArray = operands[0].update(shape=(*lead, *tail), dtype=dtype, weak_type=False, sharding=sharding)
    return aval


def place_like(array: np.ndarray, operands: Sequence[Any]) -> jax.Array:
    """The array where the operands are: on their device, or laid out over their mesh."""
    sharding = _sharding(array, [operand for operand in operands if isinstance(operand, jax.Array)])
    result: jax.Array = jnp.asarray(array) if sharding is None else jax.device_put(array, sharding)
    return result


def usable_outside(results: Any) -> Any:
    """The results of a host callback, which lie on one device of a mesh, laid out so that a compiled function may
    return them: as they are, no operation takes them ("Cannot convert GSPMDSharding")."""
    return jax.lax.optimization_barrier(results)


def _sharding(array: np.ndarray, operands: Sequence[jax.Array]) -> Sharding | None:
    for operand in operands:
        if isinstance(operand.sharding, NamedSharding):
            spec = result_aval([jax.typeof(each) for each in operands], (), array.dtype).sharding.spec
            full = PartitionSpec(*spec, *(None for _ in range(array.ndim - len(spec))))
            return NamedSharding(operand.sharding.mesh, full)
    return next((operand.sharding for operand in operands if operand.committed), None)


def varying(array: Any) -> frozenset[Any]:
    """The mesh axes along which the shards of an array differ."""
    return varying_of(jax.typeof(array))


def varying_of(aval: Any) -> frozenset[Any]:
    """The same of a type; JAX gave them two names."""
    manual = getattr(aval, "manual_axis_type", None)
    axes: frozenset[Any] = getattr(aval, "vma", frozenset()) if manual is None else manual.varying
    return axes
