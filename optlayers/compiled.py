"""A compiled problem on NumPy arrays, without any framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float

from optlayers.arrays import broadcast_shape
from optlayers.backward import AbstractBackward
from optlayers.construction import construct, with_arguments
from optlayers.errors import ArgumentError
from optlayers.exact_solve import Report
from optlayers.kkt import Cost, DerivativeReport
from optlayers.problem_types import Problem, ProblemParameter, Request
from optlayers.solution_map import ConeSolutionMap, Residuals
from optlayers.solvers import AbstractSolver
from optlayers.storage import StoragePath, load_layer, save_layer

Array = Float[np.ndarray, "..."]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The outputs at given parameter values, as many as `variables`, each (*B, *shape); and what is needed to
    differentiate them.

    reports: for each element of the flattened batch, how it was solved and how exactly.
    shapes: the shapes of the parameter values given.
    residuals: theta, x and v = y - s of the cone programs.
    """

    outputs: tuple[Array, ...]
    reports: tuple[Report, ...]
    shapes: tuple[tuple[int, ...], ...]
    residuals: Residuals


@final
@dataclass(frozen=True, eq=False)
class CompiledProblem:
    """The solution map of a CVXPY problem: made by `optlayers.compile`.

    `solver` is the forward solver, `solver_reason` why it was taken.
    """

    solution_map: ConeSolutionMap
    solver_reason: str

    def __repr__(self) -> str:
        return f"CompiledProblem({self.solution_map})"

    @property
    def solver(self) -> AbstractSolver:
        return self.solution_map.call.solver

    @property
    def backward(self) -> AbstractBackward:
        """The method that solves the linear systems of derivatives."""
        return self.solution_map.backward

    @property
    def cost(self) -> Cost:
        """What one factorization of the optimality conditions costs, by estimate."""
        return self.solution_map.system.cost

    def save(self, path: StoragePath) -> None:
        """Write the compiled problem to a file, for `load` of any front-end; see `optlayers.storage.save_layer`."""
        save_layer(path, self.solution_map, self.solver_reason)

    def solve(self, *arguments: Any, solver_args: Mapping[str, Any] | None = None, **named: Any) -> Solution:
        """Solve for parameter values (*B, *shape), by position or by the parameters' names; batch axes broadcast.

        Raises `ArgumentError` for values that do not fit, `SolveError` where there is no solution. Warns
        `AccuracyWarning` where the relative KKT residual exceeds 1e-9.
        """
        signature = self.solution_map.parametric.signature
        values = [
            _as_float(value, parameter.name)
            for value, parameter in zip(signature.order(arguments, named), signature.parameters, strict=True)
        ]
        solution_map = with_arguments(self.solution_map, solver_args)
        with np.errstate(divide="ignore", invalid="ignore"):
            theta = signature.pack(np, values)
        out, residuals, reports = solution_map.solve(theta)
        shapes = tuple(value.shape for value in values)
        outputs = tuple(np.asarray(output) for output in signature.unpack(np, out))
        return Solution(outputs, tuple(reports), shapes, residuals)

    def jvp(self, solution: Solution, *tangents: Any) -> tuple[Array, ...]:
        """The directional derivatives of the outputs along the tangents of the parameters, one for each parameter.

        A tangent has its parameter's shape, (*B, *shape) as given to `solve` or more leading axes, which broadcast.
        """
        return self.jvp_and_reports(solution, *tangents)[0]

    def jvp_and_reports(
        self, solution: Solution, *tangents: Any
    ) -> tuple[tuple[Array, ...], tuple[DerivativeReport, ...]]:
        """`jvp`, and for each element of the flattened batch how its derivative was computed and how exactly."""
        signature = self.solution_map.parametric.signature
        values = [
            _as_float(value, parameter.name)
            for value, parameter in zip(signature.order(tangents, {}), signature.parameters, strict=True)
        ]
        slopes = signature.parameter_slopes(solution.residuals.theta)
        for value, parameter in zip(values, signature.parameters, strict=True):
            lead = value.shape[: value.ndim - len(parameter.shape)]
            if broadcast_shape(lead, slopes.shape[:-1]) is None:
                raise ArgumentError(
                    f"the batch axes {lead} of the tangent of parameter '{parameter.name}' do not broadcast with the "
                    f"batch axes {slopes.shape[:-1]} of the solution."
                )
        d_theta = signature.flatten(np, values) * slopes
        d_out, reports = self.solution_map.differentiate(solution.residuals, d_theta, False)
        parts = zip(signature.output_slopes(solution.outputs), signature.split(np, d_out), strict=True)
        return tuple(np.asarray(slope * part) for slope, part in parts), tuple(reports)

    def vjp(self, solution: Solution, *cotangents: Any) -> tuple[Array, ...]:
        """The cotangents of the parameters for cotangents of the outputs, one for each output, of the output's shape.

        The cotangent of a parameter has the shape given to `solve`; one shared by the batch receives the sum.
        """
        return self.vjp_and_reports(solution, *cotangents)[0]

    def vjp_and_reports(
        self, solution: Solution, *cotangents: Any
    ) -> tuple[tuple[Array, ...], tuple[DerivativeReport, ...]]:
        """`vjp`, and for each element of the flattened batch how its derivative was computed and how exactly."""
        signature = self.solution_map.parametric.signature
        if len(cotangents) != len(signature.outputs):
            raise ArgumentError(
                f"{len(signature.outputs)} cotangents are expected, one for each output; {len(cotangents)} were given."
            )
        batch = solution.residuals.theta.shape[:-1]
        flat = []
        slopes = signature.output_slopes(solution.outputs)
        for value, slope, output in zip(cotangents, slopes, signature.outputs, strict=True):
            array = _as_float(value, output.name)
            if array.shape != (*batch, *output.shape):
                raise ArgumentError(
                    f"the cotangent of '{output.name}' has shape {array.shape}; {(*batch, *output.shape)} was expected."
                )
            flat.append((slope * array).reshape(*batch, output.size))
        g_out = np.concatenate([*flat, np.zeros((*batch, 0))], axis=-1)
        g_theta, reports = self.solution_map.differentiate(solution.residuals, g_out, True)
        g_theta = g_theta * signature.parameter_slopes(solution.residuals.theta)
        result = []
        start = 0
        for parameter, shape in zip(signature.parameters, solution.shapes, strict=True):
            part = g_theta[..., start : start + parameter.size].reshape((*batch, *parameter.shape))
            result.append(_sum_to(part, shape))
            start += parameter.size
        return tuple(result), tuple(reports)


def compile(
    problem: Problem,
    parameters: Sequence[ProblemParameter],
    variables: Sequence[Request],
    solver: str | AbstractSolver | None = None,
    solver_args: Mapping[str, Any] | None = None,
    *,
    gp: bool = False,
    backward: str | AbstractBackward | None = None,
    derivative: str = "kkt",
) -> CompiledProblem:
    """Compile a parametric CVXPY problem to its solution map on NumPy arrays.

    Arguments and errors are those of `optlayers.construction.construct`.
    """
    return CompiledProblem(
        *construct(problem, parameters, variables, solver, solver_args, gp=gp, backward=backward, derivative=derivative)
    )


def load(path: StoragePath) -> CompiledProblem:
    """The compiled problem of a file that any front-end saved. CVXPY is not needed.

    Errors are those of `optlayers.storage.load_layer`.
    """
    return CompiledProblem(*load_layer(path))


def _as_float(value: Any, name: str) -> Array:
    if np.ma.is_masked(value):
        raise ArgumentError(
            f"'{name}' has masked entries, which have no value. Fill them first, as by value.filled(0)."
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise ArgumentError(f"'{name}' must be an array of numbers, with rows of one length: {reason}.") from error
    except (RuntimeError, TypeError) as error:  # as for a tensor that requires a gradient, a traced JAX array
        raise ArgumentError(
            f"'{name}' must be an array of numbers; the argument is a {type(value).__name__} that NumPy cannot read: "
            f"{error}"
        ) from error
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise ArgumentError(
            f"'{name}' must be a dense array of real numbers; the argument is a {type(value).__name__} "
            f"of dtype {array.dtype}."
        )
    return array.astype(np.float64)


def _sum_to(array: Array, shape: tuple[int, ...]) -> Array:
    """The sum over the axes along which an array of this shape was broadcast."""
    extra = array.ndim - len(shape)
    summed = array.sum(axis=tuple(range(extra)))
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and summed.shape[axis] != 1)
    return np.asarray(summed.sum(axis=stretched, keepdims=True))
