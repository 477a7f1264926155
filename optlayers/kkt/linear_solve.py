"""Solving the unregularised symmetric system with the factorization of the regularised one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import scipy.sparse.linalg as spla
from jaxtyping import Bool, Float

from optlayers.arrays import Mask, Vector
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
"""Refinement that contracts the residual by less than this factor a step is handed over to GMRES."""

KRYLOV_DIMENSION = 60
"""Most steps of GMRES, preconditioned by the factorization: it removes that many near-singular directions."""


SINGULAR_TOLERANCE = 1e-8
"""A right-hand side counts as outside the range of the system if no residual below this, relative to its largest entry,
is found."""

ROUNDING = 1e-14
"""The rounding of K z in equilibrated variables, relative to the largest entry of z."""

PROJECTIONS = 8
"""Applications of the map that tends to the projection on the null space."""

Columns: TypeAlias = Float[np.ndarray, "size k"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class LinearSolution:
    """`x` and `w` solve the system for each column of the right-hand side, up to the relative `residual`.

    Where `singular`, the right-hand side is not in the range of the system: the solution is the least-squares one of
    minimum norm (in equilibrated variables), and `residual` is that of the nearest right-hand side in the range.
    """

    x: Float[np.ndarray, "n k"]
    w: Float[np.ndarray, "m k"]
    residual: Float[np.ndarray, " k"]
    singular: Bool[np.ndarray, " k"]


@final
class LinearSystem:
    """The symmetric system of an equilibrated program at D, factored in a borrowed workspace."""

    def __init__(self, system: SymmetricSystem, ldl: Ldl, program: ConeProgram, D: Vector) -> None:
        self._program = program
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
        size = _largest(right)
        target = tolerance * size
        solution, residual = self._refine(right)
        self._krylov(solution, right, residual, target)
        singular = _largest(residual) > SINGULAR_TOLERANCE * size
        if singular.any():
            projected, solution_of_projected, residual_of_projected = self._project(
                right[:, singular], target[singular]
            )
            right[:, singular] = projected
            solution[:, singular], residual[:, singular] = solution_of_projected, residual_of_projected
        relative = _largest(residual) / np.where(size > 0, size, 1.0)
        return LinearSolution(solution[:n], solution[n:], relative, singular)

    def _refine(self, right: Columns) -> tuple[Columns, Columns]:
        """Iterative refinement from zero until progress is slow: the solution and right - K solution.

        It goes to rounding, not to a tolerance: the error of the solution is the residual times the condition.
        """
        solution, residual, error = np.zeros_like(right), right.copy(), _largest(right)
        for _ in range(REFINEMENTS):
            candidate = solution + self._ldl.solve(residual)
            candidate_residual = right - self._multiply(candidate)
            candidate_error = _largest(candidate_residual)
            slow = ~(candidate_error <= CONTRACTION * error)
            better = candidate_error < error
            solution = np.where(better, candidate, solution)
            residual = np.where(better, candidate_residual, residual)
            error = np.where(better, candidate_error, error)
            if slow.all():
                break
        return solution, residual

    def _project(self, right: Columns, target: Vector) -> tuple[Columns, Columns, Columns]:
        """The right-hand side without its part outside the range, its solution of minimum norm, and the residual.

        With M = (K + E)^-1, E the regularization: refinement leaves the residual (E M)^j right, which tends to the
        projection on the null space of K (for these E the null space is invariant), and so does (M E)^j solution.
        """
        outside = right
        for _ in range(PROJECTIONS):
            outside = self._weigh(self._ldl.solve(outside))
        projected = right - outside
        solution, residual = self._refine(projected)
        self._krylov(solution, projected, residual, target)
        idle = solution
        for _ in range(PROJECTIONS):
            idle = self._ldl.solve(self._weigh(idle))
        solution = solution - idle
        return projected, solution, projected - self._multiply(solution)

    def _weigh(self, z: Columns) -> Columns:
        """E z; the dropped rows have no regularization."""
        n = self._program.structure.n
        lower = np.where(self._active[:, None], -self._regularization * z[n:], 0.0)
        return np.concatenate([self._regularization * z[:n], lower])

    def _krylov(self, solution: Columns, right: Columns, residual: Columns, target: Vector) -> None:
        """Improve in place, by GMRES, the columns whose residual misses the target."""
        size = len(right)
        operator = _operator(size, self._multiply)
        preconditioner = _operator(size, self._ldl.solve)
        for column in np.flatnonzero(_largest(residual) > target + ROUNDING * _largest(solution)):
            correction, _ = spla.gmres(
                operator,
                residual[:, column],
                M=preconditioner,
                rtol=0.0,
                atol=target[column],
                restart=KRYLOV_DIMENSION,
                maxiter=1,
            )
            candidate = solution[:, column] + correction
            candidate_residual = right[:, column] - self._multiply(candidate[:, None]).ravel()
            if np.abs(candidate_residual).max() < np.abs(residual[:, column]).max():
                solution[:, column], residual[:, column] = candidate, candidate_residual

    def _multiply(self, z: Columns) -> Columns:
        n = self._program.structure.n
        active = self._active[:, None]
        x, w = z[:n], np.where(active, z[n:], 0.0)
        upper = self._program.P @ x + self._program.A_transposed @ w
        lower = np.where(active, self._program.A @ x - self._compliance[:, None] * w, -z[n:])
        return np.concatenate([upper, lower])


def _operator(size: int, multiply: Callable[[Columns], Columns]) -> spla.LinearOperator:
    def matvec(z: Vector) -> Vector:
        return multiply(z.reshape(-1, 1)).ravel()

    return spla.LinearOperator((size, size), matvec=matvec, dtype=np.float64)


def _largest(columns: Columns) -> Vector:
    largest: Vector = np.abs(columns).max(axis=0, initial=0.0)
    return largest
