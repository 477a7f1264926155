"""Solving the unregularised symmetric system with the factorization of the regularised one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from optlayers.arrays import Mask, Vector
from optlayers.kkt.dense import LARGEST_GAIN, Columns, DenseSystem
from optlayers.kkt.ldl import Ldl, SingularMatrixError
from optlayers.kkt.symmetric_system import SymmetricSystem
from optlayers.program import ConeProgram

REGULARIZATION = 1e-7
"""rho and delta of the factorization, in equilibrated variables: above the square root of the rounding unit, below
which pivots can cancel. Refinement removes their effect from the solution."""

LARGEST_REGULARIZATION = 1e-3
"""Where pivots vanish all the same, the regularization grows tenfold, up to this."""

REFINEMENTS = 20
"""Most steps of iterative refinement."""

CONTRACTION = 0.5
"""Refinement that contracts the residual by less than this factor a step has ended."""

DENSE_LIMIT = 2_000
"""Largest number of variables and active rows for which ill-conditioned and singular systems are solved densely."""

DIRECTION_TOLERANCE = 1e-6
"""Relative residual to which refinement alone must solve for a step of Newton's method."""

OUTSIDE_TOLERANCE = 1e-8
"""A right-hand side counts as outside the range of the system if more than this part of it is left by the solution of
least squares, and that solution is accurate itself."""

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
    """`x` and `w` solve the system for each column of the right-hand side, up to the relative `residual`: that is, in
    equilibrated variables, relative to the larger of the right-hand side and the solution.

    Where `singular`, the right-hand side is not in the range of the system: the solution is the least-squares one of
    minimum norm (in equilibrated variables), and `residual` is that of the nearest right-hand side in the range.
    """

    x: Float[np.ndarray, "n k"]
    w: Float[np.ndarray, "m k"]
    residual: Float[np.ndarray, " k"]
    singular: Bool[np.ndarray, " k"]


@final
class LinearSystem:
    """The symmetric system of an equilibrated program at D, factored in a borrowed workspace.

    Three means, each for what the one before leaves unsolved: iterative refinement with LDL' of the regularised system
    (it solves consistent singular systems too, with minimum norm); LU with pivoting of the system itself, for one that
    is ill-conditioned; and least squares of minimum norm, for one that is singular. The last two are dense, for at most
    `DENSE_LIMIT` variables and active rows; beyond, a projection on the range takes their place.
    """

    def __init__(self, system: SymmetricSystem, ldl: Ldl, program: ConeProgram, D: Vector) -> None:
        self._system, self._program, self._D = system, program, D
        self._active: Mask = D > 0
        self._compliance: Vector = np.where(self._active, 1.0 / np.where(self._active, D, 1.0) - 1.0, 0.0)
        self._ldl = ldl
        self._regularization = REGULARIZATION
        while True:
            try:
                ldl.factor(system.values(program, D, self._regularization, self._regularization))
                break
            except SingularMatrixError:
                self._regularization *= 10
                if self._regularization > LARGEST_REGULARIZATION:
                    raise

    def solve(self, r1: Float[np.ndarray, "n k"], r2: Float[np.ndarray, "m k"], tolerance: float) -> LinearSolution:
        """Solve for the columns of [r1; r2]; entries of r2 in dropped rows do not count.

        A column counts as solved when its residual is at most `tolerance` times its largest entry, or at the level of
        the rounding of K solution.
        """
        n = self._program.structure.n
        right = np.concatenate([r1, np.where(self._active[:, None], r2, 0.0)])
        finite = np.isfinite(right).all(axis=0)
        right[:, ~finite] = 0.0
        size = _largest(right)
        solution, residual = self._refine(right)
        singular = ~(_largest(residual) <= tolerance * size)
        self._pivot(right, solution, residual, singular)
        if singular.any():
            solution[:, singular], residual[:, singular] = self._least_squares(right[:, singular])
            # Only a part of the right-hand side that no solution reaches makes the system singular for it.
            left = right - self._multiply(solution)
            singular &= _largest(left) > OUTSIDE_TOLERANCE * size
            singular &= _largest(residual) <= OUTSIDE_TOLERANCE * size
            # A projection that is not accurate itself may not hide what it leaves of the right-hand side.
            residual = np.where(singular, residual, left)
        scale = np.maximum(size, _largest(solution))
        relative = _largest(residual) / np.where(scale > 0, scale, 1.0)
        solution[:, ~finite] = np.nan
        return LinearSolution(solution[:n], solution[n:], relative, singular)

    def _pivot(self, right: Columns, solution: Columns, residual: Columns, unsolved: Mask) -> None:
        """Solve the unsolved columns densely by LU, in place; those that it solves are no longer unsolved."""
        if not unsolved.any() or self._dense is None:
            return
        kept = self._kept
        direct, solved = self._dense.solve(right[np.ix_(kept, unsolved)])
        columns = np.flatnonzero(unsolved)[solved]
        solution[np.ix_(kept, columns)] = direct[:, solved]
        residual[:, columns] = right[:, columns] - self._multiply(solution[:, columns])
        unsolved[columns] = False

    def null_vector(self) -> tuple[Vector, Vector] | None:
        """A unit vector (x, w) of the null space of the system to working precision, or None if there is none."""
        n = self._program.structure.n
        probe = np.where(self._kept, np.cos(np.arange(len(self._kept), dtype=np.float64)), 0.0)[:, None]
        for _ in range(FIRST_PROJECTIONS):
            probe = self._ldl.solve(self._weigh(probe))
        if _largest(probe)[0] <= NULL_TOLERANCE:
            return None
        for applications in (PROJECTIONS, MORE_PROJECTIONS):
            for _ in range(applications):
                probe = self._solve_regularized(self._weigh(probe))
            size = float(_largest(probe)[0])
            if size <= NULL_TOLERANCE:
                return None
            if float(_largest(self._multiply(probe))[0]) <= size / LARGEST_GAIN:
                return probe[:n, 0] / size, np.where(self._active, probe[n:, 0] / size, 0.0)
        return None

    def direction(self, r1: Vector, r2: Vector) -> tuple[Vector, Vector]:
        """(x, w) by refinement, or by LU with pivoting where the system is ill-conditioned, never by least squares: a
        step of Newton's method, which a line search checks."""
        n = self._program.structure.n
        right = np.concatenate([r1, np.where(self._active, r2, 0.0)])[:, None]
        solution, residual = self._refine(right)
        unsolved = ~(_largest(residual) <= DIRECTION_TOLERANCE * _largest(right))
        self._pivot(right, solution, residual, unsolved)
        return solution[:n, 0], np.where(self._active, solution[n:, 0], 0.0)

    def _refine(self, right: Columns) -> tuple[Columns, Columns]:
        """Iterative refinement from zero until progress is slow: the solution and right - K solution.

        It goes to rounding, not to a tolerance: the error of the solution is the residual times the condition.
        """
        solution, residual, error = np.zeros_like(right), right.copy(), _largest(right)
        rounding = np.finfo(np.float64).eps * error
        for _ in range(REFINEMENTS):
            candidate = solution + self._ldl.solve(residual)
            candidate_residual = right - self._multiply(candidate)
            candidate_error = _largest(candidate_residual)
            slow = ~(candidate_error <= CONTRACTION * error)
            better = candidate_error < error
            solution = np.where(better, candidate, solution)
            residual = np.where(better, candidate_residual, residual)
            error = np.where(better, candidate_error, error)
            if np.all(slow | (error <= rounding)):
                break
        return solution, residual

    @property
    def _kept(self) -> Mask:
        """The variables and active rows among the rows of the system."""
        return np.concatenate([np.ones(self._program.structure.n, dtype=np.bool_), self._active])

    @cached_property
    def _dense(self) -> DenseSystem | None:
        kept = np.flatnonzero(self._kept)
        if len(kept) > DENSE_LIMIT:
            return None
        K = self._system.matrix(self._system.values(self._program, self._D, 0.0, 0.0))
        return DenseSystem(K[kept][:, kept].toarray())

    def _least_squares(self, right: Columns) -> tuple[Columns, Columns]:
        if self._dense is None:
            return self._project(right)
        solution, residual = np.zeros_like(right), np.zeros_like(right)
        solution[self._kept], residual[self._kept] = self._dense.least_squares(right[self._kept])
        return solution, residual

    def _project(self, right: Columns) -> tuple[Columns, Columns]:
        """The solution of minimum norm for the part of the right-hand side in the range, and its residual.

        With M = (K + E)^-1, E the regularization: refinement leaves the residual (E M)^j right, which tends to the
        projection on the null space of K (for these E the null space is invariant), and so does (M E)^j solution.
        """
        outside = right
        for _ in range(PROJECTIONS):
            outside = self._weigh(self._ldl.solve(outside))
        projected = right - outside
        solution, _ = self._refine(projected)
        idle = solution
        for _ in range(PROJECTIONS):
            idle = self._ldl.solve(self._weigh(idle))
        solution = solution - idle
        return solution, projected - self._multiply(solution)

    def _solve_regularized(self, right: Columns) -> Columns:
        """(K + E)^-1 right, refined once: the factorization alone leaves errors of rounding / regularization."""
        solution = self._ldl.solve(right)
        refined: Columns = solution + self._ldl.solve(right - self._multiply(solution) - self._weigh(solution))
        return refined

    def _weigh(self, z: Columns) -> Columns:
        """E z; the dropped rows have no regularization."""
        n = self._program.structure.n
        lower = np.where(self._active[:, None], -self._regularization * z[n:], 0.0)
        return np.concatenate([self._regularization * z[:n], lower])

    def _multiply(self, z: Columns) -> Columns:
        n = self._program.structure.n
        active = self._active[:, None]
        x, w = z[:n], np.where(active, z[n:], 0.0)
        upper = self._program.P @ x + self._program.A_transposed @ w
        lower = np.where(active, self._program.A @ x - self._compliance[:, None] * w, -z[n:])
        return np.concatenate([upper, lower])


def _largest(columns: Columns) -> Vector:
    largest: Vector = np.abs(columns).max(axis=0, initial=0.0)
    return largest
