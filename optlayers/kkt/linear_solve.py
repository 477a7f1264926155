"""Solving the unregularised symmetric system with the factorization of the regularised one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from optlayers.arrays import Mask, Vector
from optlayers.cones import BlockDerivative
from optlayers.kkt.dense import LARGEST_GAIN, Columns, DenseSystem, Projected, is_null
from optlayers.kkt.factorization import AbstractFactorization, SingularMatrixError
from optlayers.kkt.singular import largest, settle
from optlayers.kkt.symmetric_system import SymmetricSystem
from optlayers.program import ConeProgram

REGULARIZATION = 1e-7
"""rho and delta of the factorization, in equilibrated variables: above the square root of the rounding unit, below
which pivots can cancel. Refinement removes their effect from the solution."""

LARGEST_REGULARIZATION = 1e-3
"""Where pivots vanish all the same, the regularization grows tenfold, up to this."""

REFINEMENTS = 20
"""Most steps of iterative refinement, where the caller does not say."""

CONTRACTION = 0.5
"""Refinement that contracts the residual by less than this factor a step has ended."""

DENSE_LIMIT = 2_000
"""Largest number of rows that take part for which ill-conditioned and singular systems are solved densely."""

DIRECTION_TOLERANCE = 1e-6
"""Relative residual to which refinement alone must solve for a step of Newton's method."""

PROJECTIONS = 8
"""Applications of the map that tends to the projection on the null space."""

FIRST_PROJECTIONS = 2
"""Applications that tell a regular system, at little cost."""

MORE_PROJECTIONS = 40
"""Further applications where the system is singular or nearly so."""

NULL_TOLERANCE = 1e-6
"""A probe that the projection leaves smaller than this has no part in the null space."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class LinearSolution:
    """`x` and `w` solve the system for each column of the right-hand side; `residual` and `singular` are those of
    `Settled`, in equilibrated variables. `error` is an estimate of the relative error, zero where refinement was
    enough. `iterations` counts the steps of the solver, the most over the columns. `null` is (x, w) of a vector of the
    null space of the system, if it has one and it was looked for.
    """

    x: Float[np.ndarray, "n k"]
    w: Float[np.ndarray, "m k"]
    residual: Float[np.ndarray, " k"]
    singular: Bool[np.ndarray, " k"]
    error: Float[np.ndarray, " k"]
    iterations: int
    null: tuple[Float[np.ndarray, "n 1"], Float[np.ndarray, "m 1"]] | None = None


@final
class LinearSystem:
    """K z = r of an equilibrated program at D, factored in a borrowed workspace.

    Three means, each for what the one before leaves unsolved: iterative refinement with the factors of K + E, E small
    (it solves consistent singular systems too, with minimum norm); LU with pivoting of the system itself, for one that
    is ill-conditioned; and least squares of minimum norm, for one that is singular. The last two are dense, for at most
    `DENSE_LIMIT` rows that take part; beyond, a projection on the range takes their place.
    """

    def __init__(
        self, system: SymmetricSystem, factorization: AbstractFactorization, program: ConeProgram, D: BlockDerivative
    ) -> None:
        self._system, self._n, self._D = system, program.structure.n, D
        filled = system.fill(program, D)
        self._K = system.matrix(filled.values)
        self._kept = filled.kept
        self._positive = system.positive
        self._factorization = factorization
        regularization = REGULARIZATION
        while True:
            self._regularization = system.regularization(regularization, regularization, regularization)
            try:
                factorization.factor(system.regularized(filled.values, self._regularization))
                break
            except SingularMatrixError:
                regularization *= 10
                if regularization > LARGEST_REGULARIZATION:
                    raise

    def solve(
        self, r1: Float[np.ndarray, "n k"], r2: Float[np.ndarray, "m k"], tolerance: float, limit: int = REFINEMENTS
    ) -> LinearSolution:
        """Solve for the columns of [r1; r2], with at most `limit` refinements; entries of r2 in rows with D = 0 do not
        count.

        A column counts as solved when its residual is at most `tolerance` times its largest entry, or at the level of
        the rounding of K z.
        """
        right = self._system.right_hand_side(self._D, r1, r2)
        finite = np.isfinite(right).all(axis=0)
        honest = np.where(finite, right, 0.0)
        solution, residual, iterations = self._refine(honest, limit)
        unsolved = ~(largest(residual) <= tolerance * largest(honest))
        error = self._pivot(honest, solution, residual, unsolved)
        settled = settle(self._K, right, solution, unsolved, self._least_squares)
        w = self._system.multiplier(self._D, settled.solution)
        return LinearSolution(
            settled.solution[: self._n], w, settled.residual, settled.singular, error + settled.error, iterations
        )

    def _pivot(self, right: Columns, solution: Columns, residual: Columns, unsolved: Mask) -> Vector:
        """Solve the unsolved columns densely by LU, in place; those that it solves are no longer unsolved. Estimates
        of their errors, zero for other columns."""
        error = np.zeros(right.shape[1])
        if not unsolved.any() or self._dense is None:
            return error
        kept = self._kept
        direct = self._dense.solve(right[np.ix_(kept, unsolved)])
        columns = np.flatnonzero(unsolved)[direct.solved]
        solution[np.ix_(kept, columns)] = direct.solution[:, direct.solved]
        residual[:, columns] = right[:, columns] - self._K @ solution[:, columns]
        error[columns] = direct.error[direct.solved]
        unsolved[columns] = False
        return error

    @property
    def bytes(self) -> int:
        """The memory of the system, its factors, and its dense form if that was needed."""
        parts = self._K.data, self._K.indices, self._K.indptr
        dense: DenseSystem | None = self.__dict__.get("_dense")
        return (
            sum(int(part.nbytes) for part in parts) + self._factorization.bytes + (0 if dense is None else dense.bytes)
        )

    @cached_property
    def null_vector(self) -> tuple[Vector, Vector] | None:
        """(x, w) of a unit vector of the null space of the system to working precision, or None if there is none."""
        probe = np.where(self._kept, np.cos(np.arange(len(self._kept), dtype=np.float64)), 0.0)[:, None]
        for _ in range(FIRST_PROJECTIONS):
            probe = self._factorization.solve(self._weigh(probe))
        if largest(probe)[0] <= NULL_TOLERANCE:
            return None
        for applications in (PROJECTIONS, MORE_PROJECTIONS):
            for _ in range(applications):
                probe = self._solve_regularized(self._weigh(probe))
            size = float(largest(probe)[0])
            if size <= NULL_TOLERANCE:
                return None
            if float(largest(self._K @ probe)[0]) <= size / LARGEST_GAIN:
                return self._purified(probe[:, 0] / size)
        return None

    def _purified(self, vector: Vector) -> tuple[Vector, Vector] | None:
        """(x, w) of a vector that K makes small, if it is a null vector; else of one that is, if there is any."""
        if not is_null(self._K, self._positive, vector):
            # Directions of small eigenvalues are mixed with those of the null space, or there is no other.
            kept = self._dense.null_vector if self._dense is not None else None
            if kept is None:
                return None
            vector = np.zeros_like(vector)
            vector[self._kept] = kept
        return vector[: self._n], self._system.multiplier(self._D, vector[:, None])[:, 0]

    def direction(self, r1: Vector, r2: Vector) -> tuple[Vector, Vector]:
        """(x, w) by refinement, or by LU with pivoting where the system is ill-conditioned, never by least squares: a
        step of Newton's method, which a line search checks."""
        right = self._system.right_hand_side(self._D, r1[:, None], r2[:, None])
        solution, residual, _ = self._refine(right, REFINEMENTS)
        unsolved = ~(largest(residual) <= DIRECTION_TOLERANCE * largest(right))
        self._pivot(right, solution, residual, unsolved)
        return solution[: self._n, 0], self._system.multiplier(self._D, solution)[:, 0]

    def _refine(self, right: Columns, limit: int) -> tuple[Columns, Columns, int]:
        """Iterative refinement from zero until progress is slow: the solution, right - K solution, and the steps.

        It goes to rounding, not to a tolerance: the error of the solution is the residual times the condition.
        """
        solution, residual, error = np.zeros_like(right), right.copy(), largest(right)
        rounding = np.finfo(np.float64).eps * error
        steps = 0
        while steps < limit:
            steps += 1
            candidate = solution + self._factorization.solve(residual)
            candidate_residual = right - self._K @ candidate
            candidate_error = largest(candidate_residual)
            slow = ~(candidate_error <= CONTRACTION * error)
            better = candidate_error < error
            solution = np.where(better, candidate, solution)
            residual = np.where(better, candidate_residual, residual)
            error = np.where(better, candidate_error, error)
            if np.all(slow | (error <= rounding)):
                break
        return solution, residual, steps

    @cached_property
    def _dense(self) -> DenseSystem | None:
        kept = np.flatnonzero(self._kept)
        if len(kept) > DENSE_LIMIT:
            return None
        return DenseSystem(self._K[kept][:, kept].toarray(), self._positive[kept])

    def _least_squares(self, right: Columns) -> Projected:
        if self._dense is None:
            return self._project(right)
        found = self._dense.least_squares(right[self._kept])
        solution, outside = np.zeros_like(right), np.zeros_like(right)
        solution[self._kept], outside[self._kept] = found.solution, found.outside
        return Projected(solution, outside, found.error)

    def _project(self, right: Columns) -> Projected:
        """The solution of minimum norm for the part of the right-hand side in the range.

        With M = (K + E)^-1, E the regularization: refinement leaves the residual (E M)^j right, which tends to the
        projection on the null space of K (for these E the null space is invariant), and so does (M E)^j solution.
        """
        outside = right
        for _ in range(PROJECTIONS):
            outside = self._weigh(self._factorization.solve(outside))
        solution, *_ = self._refine(right - outside, REFINEMENTS)
        idle = solution
        for _ in range(PROJECTIONS):
            idle = self._factorization.solve(self._weigh(idle))
        return Projected(solution - idle, outside, np.zeros(right.shape[1]))

    def _solve_regularized(self, right: Columns) -> Columns:
        """(K + E)^-1 right, refined once: the factorization alone leaves errors of rounding / regularization."""
        solution = self._factorization.solve(right)
        refined: Columns = solution + self._factorization.solve(right - self._K @ solution - self._weigh(solution))
        return refined

    def _weigh(self, z: Columns) -> Columns:
        """E z for the rows that take part."""
        return np.where(self._kept[:, None], self._regularization[:, None] * z, 0.0)
