"""Where results lie: on which device, and along which mesh axes, as `jax.shard_map` and explicit meshes ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.sharding import NamedSharding, PartitionSpec, Sharding


def bind_aligned(primitive: Primitive, *arrays: Any, **settings: Any) -> Any:
    """The primitive of arrays that all vary along the same mesh axes: those along which one of them does."""
    axes = [_varying(array) for array in arrays]
    union = frozenset().union(*axes)
    aligned = [
        array if own == union else jax.lax.pcast(array, tuple(union - own), to="varying")
        for array, own in zip(arrays, axes, strict=True)
    ]
    return primitive.bind(*aligned, **settings)


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


def _varying(array: Any) -> frozenset[Any]:
    """The mesh axes along which the shards of an array differ; JAX gave them two names."""
    aval = jax.typeof(array)
    manual = getattr(aval, "manual_axis_type", None)
    axes: frozenset[Any] = getattr(aval, "vma", frozenset()) if manual is None else manual.varying
    return axes
