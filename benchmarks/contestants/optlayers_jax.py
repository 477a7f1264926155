"""optlayers through jitted JAX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from benchmarks.contestant import Layer, Output, Pullback, RefusedError, Values

if TYPE_CHECKING:
    import cvxpy as cp


@final
@dataclass(frozen=True)
class OptlayersJax:
    """The package's own choice of solver, under `jax.jit` in both passes."""

    name: str = "optlayers-jax"
    needs: tuple[str, ...] = ("jax",)

    def build(self, problem: cp.Problem, parameters: Sequence[cp.Parameter], outputs: Sequence[Output]) -> Layer:
        import jax

        from optlayers.errors import OptionError, ProblemError
        from optlayers.jax import CvxpyLayer

        jax.config.update("jax_enable_x64", True)
        try:
            function = jax.jit(CvxpyLayer(problem, parameters, outputs))
        except (ProblemError, OptionError) as error:
            raise RefusedError(str(error)) from error

        def layer(values: Values) -> tuple[Values, Pullback]:
            out, vjp = jax.vjp(function, *values)

            def pullback(cotangents: Values) -> Values:
                return tuple(np.asarray(gradient) for gradient in vjp(tuple(cotangents)))

            return tuple(np.asarray(output) for output in out), pullback

        return layer
