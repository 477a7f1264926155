"""The derivative of the solution map (P, q, A, b) -> (x, y), in both modes, from one factorization."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from optlayers.errors import DerivativeError
from optlayers.kkt.factorization import SingularMatrixError
from optlayers.kkt.linear_solve import REFINEMENTS, LinearSolution, LinearSystem
from optlayers.kkt.linearization import Linearization
from optlayers.kkt.symmetric_system import SymmetricSystem

LINEAR_TOLERANCE = 1e-12
"""Relative residual to which the linear system of a derivative is solved."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class DerivativeReport:
    """How well a derivative was computed, and whether it exists.

    residual: relative residual of the linear system, the largest over the vectors multiplied.
    singular: whether some right-hand side was outside the range of the system, so that the least-squares solution of
        minimum norm was taken.
    weakly_active: the number of kinks that the point is on, where the cones' documented choice was taken.
    iterations: those of the linear solver, the most over the vectors; for a direct method its refinement steps.
    method: the name of the method.
    error: an estimate of the relative error, in equilibrated variables; zero where refinement was enough.
    ambiguity: what may be added to the products with vectors, if anything was found: the system is singular.
    """

    residual: float
    singular: bool
    weakly_active: int
    iterations: int = 0
    method: str = "sparse direct"
    error: float = 0.0
    ambiguity: Float[np.ndarray, "1 out"] | None = None


def derivative_report(
    linearization: Linearization, solution: LinearSolution, method: str, transpose: bool
) -> DerivativeReport:
    """The report of solutions of the linearised optimality conditions."""
    return DerivativeReport(
        float(solution.residual.max(initial=0.0)),
        bool(solution.singular.any()),
        linearization.weakly_active,
        solution.iterations,
        method,
        float(solution.error.max(initial=0.0)),
        None if solution.null is None else linearization.products(*solution.null, transpose),
    )


@final
class Derivative:
    """The derivative of (x, y) by the data vector (P, q, A, b) at one solution, factored in a workspace of `system`
    that is its own until `release`. For the use of one thread at a time.

    Raises `DerivativeError` if the system cannot be factored even with the largest regularization.
    """

    def __init__(
        self,
        system: SymmetricSystem,
        linearization: Linearization,
        tolerance: float = LINEAR_TOLERANCE,
        max_iterations: int = REFINEMENTS,
    ) -> None:
        self._system, self._linearization = system, linearization
        self._tolerance, self._max_iterations = tolerance, max_iterations
        self._workspace = system.take()
        try:
            self._linear = LinearSystem(system, self._workspace, linearization.scaled.program, linearization.D)
        except SingularMatrixError:
            self.release()
            raise DerivativeError(
                "the optimality conditions at the solution are too close to singular to be factored. "
                "Check the scales of the problem data, or add a small quadratic term to the objective."
            ) from None

    @property
    def bytes(self) -> int:
        """Its memory."""
        return self._linear.bytes + self._linearization.bytes

    def release(self) -> None:
        """Give the workspace back; nothing may be multiplied afterwards."""
        self._system.give_back(self._workspace)

    def jvp(
        self, d_data: Float[np.ndarray, "k data"]
    ) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k m"], DerivativeReport]:
        """(dx, dy) for each direction of the data."""
        solution = self._solve(*self._linearization.forward(d_data))
        dx, dy = self._linearization.tangents(solution.x, solution.w)
        return dx, dy, derivative_report(self._linearization, solution, "sparse direct", False)

    def vjp(
        self, g_x: Float[np.ndarray, "k n"], g_y: Float[np.ndarray, "k m"]
    ) -> tuple[Float[np.ndarray, "k data"], DerivativeReport]:
        """The cotangents of the data for each pair of cotangents of x and y."""
        solution = self._solve(*self._linearization.reverse(g_x, g_y))
        g_data = self._linearization.cotangents(solution.x, solution.w)
        return g_data, derivative_report(self._linearization, solution, "sparse direct", True)

    def ambiguity(self, transpose: bool) -> Float[np.ndarray, "1 out"] | None:
        """What may be added to any result of `vjp`, or of `jvp`, if there is anything: the system is singular.

        Along directions of the data that a cotangent does not vanish on, the solution is not differentiable: they move
        redundant constraints apart, or the objective along a direction in which the solution is not unique.
        """
        null = self._linear.null_vector
        return None if null is None else self._linearization.products(null[0][:, None], null[1][:, None], transpose)

    def _solve(self, r1: Float[np.ndarray, "n k"], r2: Float[np.ndarray, "m k"]) -> LinearSolution:
        return self._linear.solve(r1, r2, self._tolerance, self._max_iterations)


@contextmanager
def differentiate(
    system: SymmetricSystem,
    linearization: Linearization,
    tolerance: float = LINEAR_TOLERANCE,
    max_iterations: int = REFINEMENTS,
) -> Iterator[Derivative]:
    """The derivative at a solution, for the time of the context."""
    derivative = Derivative(system, linearization, tolerance, max_iterations)
    try:
        yield derivative
    finally:
        derivative.release()
