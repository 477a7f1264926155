"""The one symmetric system of refinement, forward mode and reverse mode.

With w = D dv, the linearised residual map dR [dx; dv] = [r1; r2] is

    [ P   A'         ] [dx]   [r1]
    [ A  -(D^-1 - I) ] [w ] = [r2].

With D = F F' and w = F omega (`kkt.reduced_rows`) it is the system K z = r that is solved,

    [ P     A'F         0 ] [dx    ]   [r1  ]
    [ F'A  -(I - F'F)   C'] [omega ] = [F'r2]
    [ 0     C           0 ] [lambda]   [0   ]

with diagonal I - F'F between 0 and 1, and multipliers lambda of C omega = 0 for second-order cones only. Its pattern
depends neither on D nor on the parameters. Adding rho > 0 to the first and third diagonal blocks and subtracting
delta > 0 from the second makes it quasidefinite, so that LDL' exists for every order of pivots (Vanderbei, 1995).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float

from optlayers.arrays import Indices, Vector
from optlayers.cones import BlockDerivative
from optlayers.kkt.cost import Cost
from optlayers.kkt.factorization import AbstractFactorization
from optlayers.kkt.factorization_choice import choose_factorization
from optlayers.kkt.reduced_rows import reduced_rows
from optlayers.program import ConeProgram, Pattern, Structure


@final
@dataclass(frozen=True, slots=True, eq=False)
class SystemValues:
    """The stored values of K, and which rows take part: the others have 1 or -1 on the diagonal and no more."""

    values: Float[np.ndarray, " nnz_K"]
    kept: Bool[np.ndarray, " size"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """The pattern of K's upper triangle, and the places in it of the values of P, of the diagonal, and of each part:
    its values of F'A, then its couplings."""

    pattern: Pattern
    P: Indices
    diagonal: Indices
    parts: tuple[Indices, ...]


@final
class SymmetricSystem:
    """The pattern of K for one structure, with a pool of factorizations that share it.

    `form` is any derivative of the kind that K is made for; by default, that of the projection.
    Safe for threads: each borrows a factorization of its own. Copies and pickles carry no factorization.
    """

    def __init__(self, structure: Structure, form: BlockDerivative | None = None) -> None:
        self.structure = structure
        self._form = structure.cones.derivative(np, np.zeros(structure.m)) if form is None else form
        self._parts = [reduced_rows(block.run, block.D, structure.A) for block in self._form.blocks]
        self._row_starts = structure.n + np.cumsum([0, *(part.rows for part in self._parts)])
        self._multiplier_starts = self._row_starts[-1] + np.cumsum([0, *(part.multipliers for part in self._parts)])
        self.size = int(self._multiplier_starts[-1])
        self._free: deque[AbstractFactorization] = deque()

    def __reduce__(self) -> tuple[Any, ...]:
        return SymmetricSystem, (self.structure, self._form)

    @contextmanager
    def borrow(self) -> Iterator[AbstractFactorization]:
        """A factorization workspace for the time of the context."""
        workspace = self.take()
        try:
            yield workspace
        finally:
            self.give_back(workspace)

    def take(self) -> AbstractFactorization:
        """A factorization workspace, until it is given back."""
        try:
            return self._free.pop()
        except IndexError:
            return choose_factorization(self._layout.pattern)

    def give_back(self, workspace: AbstractFactorization) -> None:
        """Let others take a workspace."""
        self._free.append(workspace)

    @property
    def cost(self) -> Cost:
        """What a factorization costs, from sizes alone."""
        couplings = sum(part.rows for part in self._parts if part.multipliers)
        entries = self.structure.P.size + self.size + 2 * couplings + sum(part.entries for part in self._parts)
        dense = np.zeros(self.structure.n, dtype=np.bool_)
        dense_rows = sum(part.mark_dense(dense) for part in self._parts)
        return Cost(self.size, entries, dense_rows + int(dense.sum()))

    @cached_property
    def _layout(self) -> _Layout:
        """The pattern of K; made when it is first needed."""
        structure, every = self.structure, np.arange(self.size)
        rows: list[np.ndarray] = [structure.P.rows, every]
        columns: list[np.ndarray] = [structure.P.columns, every]
        for part, start, first in zip(self._parts, self._row_starts, self._multiplier_starts, strict=False):
            entry_rows, entry_columns = part.entry_positions()
            coupling_rows, coupling_multipliers = part.coupling_positions()
            rows += [entry_columns, start + coupling_rows]
            columns += [start + entry_rows, first + coupling_multipliers]
        pattern, places = Pattern.from_positions(
            (self.size, self.size), np.concatenate(rows).astype(np.int32), np.concatenate(columns).astype(np.int32)
        )
        P_places, diagonal, *parts = np.split(places, np.cumsum([len(part) for part in rows])[:-1])
        return _Layout(pattern, P_places, diagonal, tuple(parts))

    def fill(self, program: ConeProgram, D: BlockDerivative, *, rigid: bool = False) -> SystemValues:
        """K of the program at D; if `rigid`, with zero for I - F'F in the rows that take part."""
        n, layout = self.structure.n, self._layout
        values, diagonal = np.zeros(layout.pattern.size), np.zeros(self.size)
        kept = np.ones(self.size, dtype=np.bool_)
        values[layout.P] = program.P_values
        for index, (part, block) in enumerate(zip(self._parts, D.blocks, strict=True)):
            filled = part.fill(block.D, program.A_values)
            values[layout.parts[2 * index]] = filled.entries
            values[layout.parts[2 * index + 1]] = filled.couplings
            own, multipliers = self._rows_of(index), self._multipliers_of(index)
            diagonal[own] = np.where(filled.kept, 0.0, filled.diagonal) if rigid else filled.diagonal
            diagonal[multipliers] = filled.multiplier_diagonal
            kept[own], kept[multipliers] = filled.kept, filled.kept_multipliers
        values[layout.diagonal[:n]] += diagonal[:n]
        values[layout.diagonal[n:]] = diagonal[n:]
        return SystemValues(values, kept)

    @property
    def positive(self) -> Bool[np.ndarray, " size"]:
        """The rows of the diagonal blocks of K that are positive semidefinite: all but the second."""
        return self.regularization(1.0, 1.0, 1.0) > 0

    def regularization(self, rho: float, delta: float, multipliers: float) -> Vector:
        """The diagonal of a matrix to add to K: rho, -delta and `multipliers` in its three blocks."""
        regularization = np.full(self.size, multipliers)
        regularization[: self.structure.n] = rho
        regularization[self.structure.n : int(self._row_starts[-1])] = -delta
        return regularization

    def regularized(self, values: Vector, regularization: Vector) -> Vector:
        """The stored values of K plus the diagonal matrix."""
        regularized = values.copy()
        regularized[self._layout.diagonal] += regularization
        return regularized

    def right_hand_side(
        self, D: BlockDerivative, r1: Float[np.ndarray, "n k"], r2: Float[np.ndarray, "m k"]
    ) -> Float[np.ndarray, "size k"]:
        """[r1; F'r2; 0]."""
        parts = [
            part.reduce(block.D, r2[block.run.start : block.run.stop])
            for part, block in zip(self._parts, D.blocks, strict=True)
        ]
        tail = np.zeros((self.size - int(self._row_starts[-1]), r1.shape[1]))
        return np.concatenate([r1, *parts, tail])

    def multiplier(self, D: BlockDerivative, z: Float[np.ndarray, "size k"]) -> Float[np.ndarray, "m k"]:
        """w = F omega of a solution z."""
        parts = [
            part.expand(block.D, z[self._rows_of(index)])
            for index, (part, block) in enumerate(zip(self._parts, D.blocks, strict=True))
        ]
        return np.concatenate([*parts, np.zeros((0, z.shape[1]))])

    def matrix(self, values: Vector) -> sp.csc_matrix:
        """The whole symmetric matrix with these stored values."""
        pattern, source = self._full
        return pattern.matrix(values[source])

    @cached_property
    def _full(self) -> tuple[Pattern, Indices]:
        return self._layout.pattern.symmetrized()

    def _rows_of(self, index: int) -> slice:
        return slice(int(self._row_starts[index]), int(self._row_starts[index + 1]))

    def _multipliers_of(self, index: int) -> slice:
        return slice(int(self._multiplier_starts[index]), int(self._multiplier_starts[index + 1]))
