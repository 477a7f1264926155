"""Convex optimization layers for JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import jax
import jax.numpy as jnp

from optlayers.backward import AbstractBackward
from optlayers.construction import construct, with_arguments
from optlayers.jax.arrays import as_array
from optlayers.jax.primitives import solve
from optlayers.problem_types import Problem, ProblemParameter, Request
from optlayers.solvers import AbstractSolver
from optlayers.storage import StoragePath, load_layer, save_layer


@final
class CvxpyLayer:
    """A parametric CVXPY problem as a function: parameter values (*B, *shape) -> optimal variables (*B, *shape).

    Differentiated by the implicit function theorem on the optimality conditions (docs/mathematics.md), in forward and
    reverse mode, under jit and vmap. Computation is in double precision on the host, also when x64 is off; outputs have
    the dtype of the inputs.

    Arguments as in `optlayers.construction.construct`, and as in cvxpylayers.

    solver, solver_reason: the forward solver and why it was taken.
    backward: the method that solves the linear systems of derivatives.
    """

    def __init__(
        self,
        problem: Problem,
        parameters: Sequence[ProblemParameter],
        variables: Sequence[Request],
        solver: str | AbstractSolver | None = None,
        gp: bool = False,
        verbose: bool = False,
        canon_backend: str | None = None,
        solver_args: Mapping[str, Any] | None = None,
        *,
        backward: str | AbstractBackward | None = None,
        derivative: str = "kkt",
    ) -> None:
        self._solution_map, self.solver_reason = construct(
            problem,
            parameters,
            variables,
            solver,
            solver_args,
            gp=gp,
            verbose=verbose,
            canon_backend=canon_backend,
            backward=backward,
            derivative=derivative,
        )

    @property
    def solver(self) -> AbstractSolver:
        return self._solution_map.call.solver

    @property
    def backward(self) -> AbstractBackward:
        return self._solution_map.backward

    def __repr__(self) -> str:
        return f"CvxpyLayer({self._solution_map})"

    def save(self, path: StoragePath) -> None:
        """Write the layer to a file, for `load` of any front-end; see `optlayers.storage.save_layer`."""
        save_layer(path, self._solution_map, self.solver_reason)

    @classmethod
    def load(cls, path: StoragePath) -> CvxpyLayer:
        """The layer of a file that any front-end saved. CVXPY is not needed.

        Errors are those of `optlayers.storage.load_layer`.
        """
        layer = cls.__new__(cls)
        layer._solution_map, layer.solver_reason = load_layer(path)  # noqa: SLF001 (of its own class)
        return layer

    def __call__(
        self, *arguments: Any, solver_args: Mapping[str, Any] | None = None, **named: Any
    ) -> tuple[jax.Array, ...]:
        """The outputs, one for each of `variables`, at parameter values given by position or by CVXPY name.

        Leading batch axes broadcast. Raises `ArgumentError` for values that do not fit, before any solve; `SolveError`
        naming batch index and status where there is no solution (under jit both arrive inside JAX's own error). Warns
        `AccuracyWarning` where the relative KKT residual exceeds 1e-9, and, on differentiation, `SingularWarning` where
        the solution is not differentiable.
        """
        signature = self._solution_map.parametric.signature
        ordered = signature.order(arguments, named)
        arrays = [as_array(*pair) for pair in zip(signature.parameters, ordered, strict=True)]
        out = solve(signature.pack(jnp, arrays), with_arguments(self._solution_map, solver_args))
        return signature.unpack(jnp, out)


load = CvxpyLayer.load
