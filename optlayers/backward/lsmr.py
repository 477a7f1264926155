"""The derivative by an iterative method that only multiplies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import scipy.sparse.linalg as spla
from jaxtyping import Float

from optlayers.arrays import Vector
from optlayers.backward.abstract import AbstractBackward, Differentiated, Points, each, finish, right_hand_sides
from optlayers.errors import OptionError
from optlayers.kkt import Linearization, LinearSolution, SymmetricSystem, least_squares, residual_operator

PRECONDITIONERS = ("columns", "none")


@final
@dataclass(frozen=True)
class LSMR(AbstractBackward):
    """LSMR (Fong and Saunders, 2011) on the derivative dR of the residual map, or its transpose, in equilibrated
    variables, by products with P, A and D: nothing is factored.

        dR [dx; dv] = [r1; r2],  w = D dv;      dR' [u; t] = [g_x; D g_y],  t the cotangent of b.

    preconditioner: "columns" divides each variable by the norm of its column in [P; A], "none" leaves them as they are.

    At degenerate points it tends to the least-squares solution of minimum norm, in the variables (x, v) and with
    "columns" the scaled ones. A product that `max_iterations` do not bring to `tolerance` is returned with the residual
    that it has, which is reported; so is an estimate of its error, for which the smallest singular value is looked for
    by the same means, at about the cost of two more products.
    """

    tolerance: float = 1e-12
    max_iterations: int = 20_000
    preconditioner: str = "columns"

    name: ClassVar[str] = "lsmr"

    def __post_init__(self) -> None:
        AbstractBackward.__post_init__(self)
        if self.preconditioner not in PRECONDITIONERS:
            raise OptionError(
                f"{self.name}: preconditioner must be one of {', '.join(PRECONDITIONERS)}, not {self.preconditioner!r}."
            )

    def multiply(
        self,
        system: SymmetricSystem,
        points: Points,
        vectors: Float[np.ndarray, "B k in"],
        transpose: bool,
        threads: int,
    ) -> list[Differentiated]:
        def element(place: int) -> Differentiated:
            at = points.linearization(place)
            solution = self._solve(at, *right_hand_sides(at, vectors[place], transpose), transpose)
            return finish(at, solution, self.name, transpose)

        return each(points, threads, element)

    def _solve(
        self, at: Linearization, r1: Float[np.ndarray, "n k"], r2: Float[np.ndarray, "m k"], transpose: bool
    ) -> LinearSolution:
        n, D = len(r1), at.D
        dR = residual_operator(at.scaled.program, D)
        scale = self._scale(at)
        if transpose:
            right = scale[:, None] * np.concatenate([r1, D.apply_each(np, r2.T).T])
            M = spla.LinearOperator(dR.shape, lambda z: scale * dR.rmatvec(z), lambda r: dR @ (scale * r), dtype=float)
        else:
            right = np.concatenate([r1, r2])
            M = spla.LinearOperator(dR.shape, lambda z: dR @ (scale * z), lambda r: scale * dR.rmatvec(r), dtype=float)

        def unknowns(z: Float[np.ndarray, "size k"]) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "m k"]]:
            if transpose:
                return z[:n], z[n:]
            z = scale[:, None] * z
            return z[:n], D.apply_each(np, z[n:].T).T

        found = least_squares(M, right, self.tolerance, self.max_iterations)
        return LinearSolution(
            *unknowns(found.solution),
            found.relative_residual,
            found.singular,
            found.error,
            found.iterations,
            None if found.idle is None else unknowns(found.idle[:, None]),
        )

    def _scale(self, at: Linearization) -> Vector:
        program = at.scaled.program
        scale = np.ones(program.structure.n + program.structure.m)
        if self.preconditioner == "columns":
            squares = np.zeros(program.structure.n)
            for matrix in (program.A, program.P):
                squares += np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel()
            scale[: len(squares)] = 1 / np.sqrt(np.where(squares > 0, squares, 1.0))
        return scale
