"""The one symmetric system of refinement, forward mode and reverse mode.

With w = D dv, the linearised residual map dR [dx; dv] = [r1; r2] is

    [ P   A'         ] [dx]   [r1]
    [ A  -(D^-1 - I) ] [w ] = [r2]

where rows with D = 0 drop out: w = 0. Its pattern does not depend on D or on the parameters: a dropped row keeps its
place, with zero coefficients and -1 on the diagonal. Adding rho > 0 to the first diagonal block and subtracting
delta > 0 from the second makes it quasidefinite, so that LDL' exists for every order of pivots (Vanderbei, 1995).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import scipy.sparse as sp

from optlayers.arrays import Vector
from optlayers.kkt.ldl import Ldl
from optlayers.program import ConeProgram, Pattern, Structure


@final
class SymmetricSystem:
    """The pattern of the system for one structure, with a pool of factorizations that share it.

    Safe for threads: each borrows a factorization of its own. Copies and pickles carry the structure only.
    """

    def __init__(self, structure: Structure) -> None:
        n, m, P, A = structure.n, structure.m, structure.P, structure.A
        self.structure = structure
        rows = np.concatenate([P.rows, np.arange(n, dtype=np.int32), A.columns, np.arange(n, n + m, dtype=np.int32)])
        columns = np.concatenate(
            [P.columns, np.arange(n, dtype=np.int32), n + A.rows, np.arange(n, n + m, dtype=np.int32)]
        )
        self._pattern, places = Pattern.from_positions((n + m, n + m), rows, columns)
        ends = np.cumsum([P.size, n, A.size])
        self._P_places, self._x_diagonal, self._A_places, self._v_diagonal = np.split(places, ends)
        self._free: deque[Ldl] = deque()

    def __reduce__(self) -> tuple[Any, ...]:
        return SymmetricSystem, (self.structure,)

    @contextmanager
    def borrow(self) -> Iterator[Ldl]:
        """A factorization workspace for the time of the context."""
        try:
            workspace = self._free.pop()
        except IndexError:
            workspace = Ldl(self._pattern)
        try:
            yield workspace
        finally:
            self._free.append(workspace)

    def values(self, program: ConeProgram, D: Vector, rho: float, delta: float) -> Vector:
        """The stored values of the regularised system for the program at the derivative D = diag(D)."""
        active = D > 0
        values = np.zeros(self._pattern.size)
        values[self._P_places] = program.P_values
        values[self._x_diagonal] += rho
        values[self._A_places] = np.where(active[program.structure.A.rows], program.A_values, 0.0)
        values[self._v_diagonal] = np.where(active, 1.0 - 1.0 / np.where(active, D, 1.0) - delta, -1.0)
        return values

    def matrix(self, values: Vector) -> sp.csc_matrix:
        """The whole symmetric matrix with these stored values."""
        upper = self._pattern.matrix(values)
        return sp.csc_matrix(upper + sp.triu(upper, 1).T)
