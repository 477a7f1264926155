"""LU factors of batches of matrices."""

from __future__ import annotations

from collections.abc import Callable

import jax


def factor(matrix: jax.Array) -> Callable[[jax.Array, bool], jax.Array]:
    """LU of matrices (*B, n, n): (columns (*B, n, k), transpose) -> A^-1 columns, or A^-T columns."""
    if any(name is not None for name in jax.typeof(matrix).sharding.spec):
        factors = jax.scipy.linalg.lu_factor(matrix)  # an explicit mesh refuses loops over an axis that it divides
    else:
        factors = jax.lax.platform_dependent(matrix, cpu=_factor_one_by_one, default=jax.scipy.linalg.lu_factor)

    def solve(columns: jax.Array, transpose: bool) -> jax.Array:
        result: jax.Array = jax.scipy.linalg.lu_solve(factors, columns, trans=int(transpose))
        return result

    return solve


@jax.custom_batching.sequential_vmap  # type: ignore[untyped-decorator]
def _factor_one(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of one matrix, also under `vmap`."""
    factors, pivots = jax.scipy.linalg.lu_factor(matrix)
    return factors, pivots


def _factor_one_by_one(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """On the CPU, where jaxlib (0.10.2) factors the matrices of a batch side by side: in threads that another
    factorization may hold while it waits for threads itself, so that now and then a program hangs forever."""
    n = matrix.shape[-1]
    factors, pivots = jax.lax.map(_factor_one, matrix.reshape((-1, n, n)))
    return factors.reshape(matrix.shape), pivots.reshape(matrix.shape[:-1])
