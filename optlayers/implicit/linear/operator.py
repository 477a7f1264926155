"""A linear operator on each element of a batch, known by its products."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from optlayers.implicit.framework import Array, Framework, Function


@final
@dataclass(frozen=True, eq=False)
class LinearOperator:
    """A (*B, n, n), block-diagonal along the batch, by its products.

    like: an array (*B, n), of the dtype and device of what A is applied to. Vectors may have further leading axes.
    """

    framework: Framework
    like: Array
    product: Callable[[], Function]
    transposed_product: Callable[[], Function]

    @classmethod
    def of(cls, framework: Framework, f: Function, z: Array) -> LinearOperator:
        """The derivative of f at z."""
        return cls(
            framework,
            z,
            product=lambda: framework.linearize(f, z)[1],
            transposed_product=lambda: framework.vjp(f, z)[1],
        )

    @property
    def xp(self) -> Any:
        """The framework's arrays."""
        return self.framework.xp

    @property
    def transpose(self) -> LinearOperator:
        """A'"""
        return LinearOperator(self.framework, self.like, self.transposed_product, self.product)

    def multiply(self) -> Function:
        """v -> A v. Linearising costs an evaluation; so this is called once for many products."""
        return self._along_further_axes(self.product())

    def multiply_transposed(self) -> Function:
        """v -> A' v"""
        return self._along_further_axes(self.transposed_product())

    def matrix(self) -> Array:
        """A (*B, n, n), by n products."""
        batch, n = self.like.shape[:-1], self.like.shape[-1]
        columns = self.xp.broadcast_to(
            self.framework.eye(n, self.like).reshape(n, *(1,) * len(batch), n), (n, *batch, n)
        )
        return self.xp.moveaxis(self.multiply()(columns), 0, -1)

    def _along_further_axes(self, multiply: Function) -> Function:
        def product(v: Array) -> Array:
            further = v.shape[: len(v.shape) - len(self.like.shape)]
            if not further:
                return multiply(v)
            flat = v.reshape(math.prod(further), *self.like.shape)
            return self.framework.map(multiply)(flat).reshape(*further, *self.like.shape)

        return product
