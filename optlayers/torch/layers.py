"""Convex optimization layers for PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import torch

from optlayers.arrays import Arrays
from optlayers.backward import AbstractBackward
from optlayers.construction import construct, with_arguments
from optlayers.errors import OptionError
from optlayers.problem_types import Problem, ProblemParameter, Request
from optlayers.solvers import AbstractSolver
from optlayers.storage import StoragePath, load_layer, save_layer
from optlayers.torch.arrays import check_tensors, result_dtype, to_double
from optlayers.torch.operators import OPERATORS, handle_of, reverse_only
from optlayers.torch.primitives import FUNCTIONS

_TORCH = cast(Arrays, torch)


@final
class CvxpyLayer(torch.nn.Module):
    """A parametric CVXPY problem as a module: parameter values (*B, *shape) -> optimal variables (*B, *shape).

    Differentiated by the implicit function theorem on the optimality conditions (docs/mathematics.md). Computation is
    in double precision on the CPU; outputs have the dtype and device of the inputs, under autocast at least float32.

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
        super().__init__()
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
        self._handle = handle_of(self._solution_map)
        self._description = str(self._solution_map)  # a constant, for `torch.compile`: vmap(layer) asks for it

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The handle is good in one process only."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._handle = handle_of(self._solution_map)

    @property
    def solver(self) -> AbstractSolver:
        return self._solution_map.call.solver

    @property
    def backward(self) -> AbstractBackward:
        return self._solution_map.backward

    def extra_repr(self) -> str:
        """What goes in and out, and how it is computed."""
        return self._description

    def save(self, path: StoragePath) -> None:
        """Write the layer to a file, for `load` of any front-end; see `optlayers.storage.save_layer`."""
        save_layer(path, self._solution_map, self.solver_reason)

    @classmethod
    def load(cls, path: StoragePath) -> CvxpyLayer:
        """The layer of a file that any front-end saved. CVXPY is not needed.

        Errors are those of `optlayers.storage.load_layer`.
        """
        layer = cls.__new__(cls)
        torch.nn.Module.__init__(layer)
        layer._solution_map, layer.solver_reason = load_layer(path)  # noqa: SLF001 (of its own class)
        layer._handle = handle_of(layer._solution_map)  # noqa: SLF001
        layer._description = str(layer._solution_map)  # noqa: SLF001
        return layer

    def forward(
        self, *arguments: torch.Tensor, solver_args: Mapping[str, Any] | None = None, **named: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """The outputs, one for each of `variables`, at parameter values given by position or by CVXPY name.

        Leading batch axes broadcast. Raises `ArgumentError` for values that do not fit, before any solve; `SolveError`
        naming batch index and status where there is no solution. Warns `AccuracyWarning` where the relative KKT
        residual exceeds 1e-9, and, on differentiation, `SingularWarning` where the solution is not differentiable.
        """
        signature = self._solution_map.parametric.signature
        tensors = signature.order(arguments, named)
        check_tensors(signature.parameters, tensors)
        theta = signature.pack(_TORCH, [to_double(tensor) for tensor in tensors])
        if torch.compiler.is_compiling():
            if solver_args:
                raise OptionError("solver_args of one call cannot be compiled; give them to the layer.")
            out = OPERATORS.solve(reverse_only(theta), self._handle)[0]
        else:
            out = FUNCTIONS.solve(theta, with_arguments(self._solution_map, solver_args))[0]
        like = {"device": tensors[0].device if tensors else None, "dtype": result_dtype(tensors)}
        return tuple(output.to(**like) for output in signature.unpack(_TORCH, out))


load = CvxpyLayer.load
