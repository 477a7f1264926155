"""JAX arrays to NumPy arrays and back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt32

from optlayers.errors import ArgumentError
from optlayers.program import Parameter


def as_array(parameter: Parameter, argument: Any) -> jax.Array:
    """The argument as a JAX array; `ArgumentError` unless it holds real floating-point numbers."""
    try:
        array = jnp.asarray(argument)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"parameter '{parameter.name}' must be an array of numbers, not {type(argument).__name__} (JAX: {error})."
        ) from error
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ArgumentError(
            f"parameter '{parameter.name}' has dtype {array.dtype}; a floating-point dtype is expected. "
            "Convert it with .astype(float)."
        )
    return array


def encode(array: Float[np.ndarray, "*shape"]) -> UInt32[np.ndarray, "*shape 2"]:
    """The bits of float64 numbers as pairs of 32-bit words, which JAX keeps also when x64 is off."""
    words: UInt32[np.ndarray, "*shape 2"] = np.ascontiguousarray(array)[..., None].view(np.uint32)
    return words


def decode(words: UInt32[np.ndarray, "*shape 2"]) -> Float[np.ndarray, "*shape"]:
    """The inverse of `encode`."""
    numbers: Float[np.ndarray, "*shape"] = np.ascontiguousarray(words).view(np.float64)[..., 0]
    return numbers
