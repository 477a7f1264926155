"""The rows of a cone in the variables in which its derivative is diagonal.

With D = F F' and w = F omega, the rows A dx - (D^-1 - I) w = r2 of the linearised optimality conditions, on the range
of D, are

    F'A dx - (I - F'F) omega = F'r2.

With F = Q diag(sqrt(eigenvalues)) the matrix I - F'F is diagonal with entries in [0, 1]: neither D^-1 nor a quotient of
eigenvalues is formed, and a row with eigenvalue 0 is 0 dx - omega = 0. Each form of D has its F here.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, final

import numpy as np
from jaxtyping import Bool, Float, Int

from optlayers.arrays import Vector
from optlayers.cones import AbstractDerivative, AbstractRotation, Diagonal, Expansion, Run
from optlayers.kkt.factorization_choice import DENSE_DEGREE
from optlayers.program import Pattern

Columns: TypeAlias = Float[np.ndarray, "rows k"]
Reduced: TypeAlias = Float[np.ndarray, "reduced k"]
Positions: TypeAlias = tuple[Int[np.ndarray, " entries"], Int[np.ndarray, " entries"]]

_NOWHERE: Positions = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """The values of a run's part of the symmetric system: those of F'A and of the couplings, by their positions; the
    diagonal of -(I - F'F) and of the multipliers' block; and which rows and multipliers take part."""

    entries: Float[np.ndarray, " entries"]
    couplings: Float[np.ndarray, " couplings"]
    diagonal: Float[np.ndarray, " rows"]
    multiplier_diagonal: Float[np.ndarray, " multipliers"]
    kept: Bool[np.ndarray, " rows"]
    kept_multipliers: Bool[np.ndarray, " multipliers"]


class AbstractReducedRows(abc.ABC):
    """The reduced rows of a run of equal cones.

    rows, multipliers: their numbers; multipliers are auxiliary variables of the system.
    entries: the number of stored values of F'A.
    """

    rows: int
    multipliers: int
    entries: int

    @abc.abstractmethod
    def entry_positions(self) -> Positions:
        """Reduced row and variable of each value of F'A."""

    @abc.abstractmethod
    def coupling_positions(self) -> Positions:
        """Reduced row and multiplier of each value between them."""

    @abc.abstractmethod
    def mark_dense(self, columns: Bool[np.ndarray, " n"]) -> int:
        """The number of rows that fill a dense block larger than `DENSE_DEGREE`, whose columns are marked."""

    @abc.abstractmethod
    def fill(self, D: Any, A_values: Vector) -> Filled:
        """The values at D, for the values of all of A."""

    @abc.abstractmethod
    def reduce(self, D: Any, r: Columns) -> Reduced:
        """F'r for columns of the run's rows."""

    @abc.abstractmethod
    def expand(self, D: Any, omega: Reduced) -> Columns:
        """F omega for columns of the reduced rows."""


def reduced_rows(run: Run, D: AbstractDerivative, A: Pattern) -> AbstractReducedRows:
    """The reduced rows for derivatives of the form of D."""
    chosen = np.flatnonzero((A.rows >= run.start) & (A.rows < run.stop))
    entries = _Entries.of(run, chosen, A)
    if isinstance(D, Diagonal):
        return DiagonalRows(run, entries)
    if isinstance(D, Expansion):
        return ExpandedRows(run, entries)
    if isinstance(D, AbstractRotation):
        return RotatedRows(run, entries)
    raise TypeError(f"the derivative of {run.cone} has the form {type(D).__name__}, which has no reduced rows")


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Entries:
    """The stored entries of A in the rows of a run: their places in A, cones, rows within the cone and columns.

    The distinct columns of each cone are listed once: `owners` and `columns`; `listed` is each entry's place there.
    """

    places: Int[np.ndarray, " entries"]
    cones: Int[np.ndarray, " entries"]
    rows: Int[np.ndarray, " entries"]
    listed: Int[np.ndarray, " entries"]
    owners: Int[np.ndarray, " listed"]
    columns: Int[np.ndarray, " listed"]

    @classmethod
    def of(cls, run: Run, places: Int[np.ndarray, " entries"], A: Pattern) -> _Entries:
        n = max(A.shape[1], 1)
        local = A.rows[places].astype(np.int64) - run.start
        cones = local // run.cone.size
        keys, listed = np.unique(cones * n + A.columns[places], return_inverse=True)
        return cls(places, cones, local % run.cone.size, listed, keys // n, keys % n)


@final
class DiagonalRows(AbstractReducedRows):
    """D = diag(entries): F = diag(sqrt(entries)), one reduced row for each row."""

    def __init__(self, run: Run, entries: _Entries) -> None:
        self.rows, self.multipliers = run.count * run.cone.size, 0
        self.entries, self._places = len(entries.places), entries.places
        self._entry_rows, self._entry_columns = (
            entries.cones * run.cone.size + entries.rows,
            entries.columns[entries.listed],
        )

    def entry_positions(self) -> Positions:
        return self._entry_rows, self._entry_columns

    def coupling_positions(self) -> Positions:
        return _NOWHERE

    def mark_dense(self, columns: Bool[np.ndarray, " n"]) -> int:
        return 0

    def fill(self, D: Diagonal, A_values: Vector) -> Filled:
        weights, none = D.entries.ravel(), np.zeros(0)
        entries = np.sqrt(weights)[self._entry_rows] * A_values[self._places]
        return Filled(entries, none, weights - 1, none, weights > 0, none > 0)

    def reduce(self, D: Diagonal, r: Columns) -> Reduced:
        root = np.sqrt(D.entries.ravel())[:, None]
        return np.where(root > 0, root * r, 0.0)

    def expand(self, D: Diagonal, omega: Reduced) -> Columns:
        root = np.sqrt(D.entries.ravel())[:, None]
        return np.where(root > 0, root * omega, 0.0)


@final
class RotatedRows(AbstractReducedRows):
    """D = Q diag(eigenvalues) Q': F = Q diag(sqrt(eigenvalues)); the rows of a cone share all their columns."""

    def __init__(self, run: Run, entries: _Entries) -> None:
        count, size = run.count, run.cone.size
        self.rows, self.multipliers = count * size, 0
        self.entries = size * len(entries.owners)
        self._run_entries = entries
        widths = np.bincount(entries.owners, minlength=count)
        self._within = np.arange(len(entries.owners)) - (np.cumsum(widths) - widths)[entries.owners]
        self._shape = (count, size, int(widths.max(initial=0)))

    def entry_positions(self) -> Positions:
        cones, rows = self._every_row()
        size = self._shape[1]
        return cones * size + rows, np.repeat(self._run_entries.columns, size)

    def coupling_positions(self) -> Positions:
        return _NOWHERE

    def _every_row(self) -> Positions:
        """Cone and row of each value: for each listed column of a cone, all rows of that cone."""
        owners, size = self._run_entries.owners, self._shape[1]
        return np.repeat(owners, size), np.tile(np.arange(size), len(owners))

    @cached_property
    def _sources(self) -> Int[np.ndarray, " entries"]:
        """Where the entries of A stand in the dense rows of the cones."""
        own = self._run_entries
        return np.ravel_multi_index((own.cones, own.rows, self._within[own.listed]), self._shape)

    @cached_property
    def _stored(self) -> Int[np.ndarray, " entries"]:
        """Where the values of F'A stand there."""
        return np.ravel_multi_index((*self._every_row(), np.repeat(self._within, self._shape[1])), self._shape)

    def mark_dense(self, columns: Bool[np.ndarray, " n"]) -> int:
        count, size, _ = self._shape
        wide = np.bincount(self._run_entries.owners, minlength=count) > DENSE_DEGREE
        if size > DENSE_DEGREE:
            columns[self._run_entries.columns[wide[self._run_entries.owners]]] = True
        return int(wide.sum()) * size

    def fill(self, D: AbstractRotation, A_values: Vector) -> Filled:
        dense, none = np.zeros(self._shape), np.zeros(0)
        dense.reshape(-1)[self._sources] = A_values[self._run_entries.places]
        rotated = np.sqrt(D.eigenvalues)[..., None] * D.rotate(np, dense)
        eigenvalues = D.eigenvalues.ravel()
        return Filled(rotated.reshape(-1)[self._stored], none, eigenvalues - 1, none, eigenvalues > 0, none > 0)

    def reduce(self, D: AbstractRotation, r: Columns) -> Reduced:
        rotated = D.rotate(np, r.reshape(*D.eigenvalues.shape, r.shape[1]))
        return np.asarray(np.sqrt(D.eigenvalues)[..., None] * rotated).reshape(r.shape)

    def expand(self, D: AbstractRotation, omega: Reduced) -> Columns:
        weighted = np.sqrt(D.eigenvalues)[..., None] * omega.reshape(*D.eigenvalues.shape, omega.shape[1])
        return np.asarray(D.rotate_back(np, weighted)).reshape(omega.shape)


@final
class ExpandedRows(AbstractReducedRows):
    """D = weight I + (1 - weight) one one' - weight null null': w = sqrt(weight) omega + one eta, where omega is
    orthogonal to `one` and `null` by two multipliers, so that no dense block arises:

        one'A dx                                              = one'r2
        sqrt(weight) A dx - (1 - weight) omega + one l + null k = sqrt(weight) r2
        one'omega = 0,   null'omega = 0.

    Where `one` and `null` are zero, so are their rows, and D = weight I. Reduced rows: for each cone omega, then eta.
    """

    def __init__(self, run: Run, entries: _Entries) -> None:
        count, size = run.count, run.cone.size
        self._count, self._size = count, size
        self.rows, self.multipliers = count * (size + 1), 2 * count
        self._run_entries = entries
        self.entries = len(entries.places) + len(entries.owners)

    def entry_positions(self) -> Positions:
        own, width = self._run_entries, self._size + 1
        return (
            np.concatenate([own.cones * width + own.rows, own.owners * width + self._size]),
            np.concatenate([own.columns[own.listed], own.columns]),
        )

    def coupling_positions(self) -> Positions:
        omega = (np.arange(self._count)[:, None] * (self._size + 1) + np.arange(self._size)).ravel()
        cone = np.repeat(np.arange(self._count), self._size)
        return np.concatenate([omega, omega]), np.concatenate([2 * cone, 2 * cone + 1])

    def mark_dense(self, columns: Bool[np.ndarray, " n"]) -> int:
        return 0

    def fill(self, D: Expansion, A_values: Vector) -> Filled:
        values, entries = A_values[self._run_entries.places], self._run_entries
        scaled = np.sqrt(D.weight)[entries.cones] * values
        along = np.bincount(
            entries.listed, weights=D.one[entries.cones, entries.rows] * values, minlength=len(entries.owners)
        )
        has_one, has_null = (np.any(direction != 0, axis=1) for direction in (D.one, D.null))
        diagonal = np.empty((self._count, self._size + 1))
        diagonal[:, :-1] = (D.weight - 1)[:, None]
        diagonal[:, -1] = np.where(has_one, 0.0, -1.0)
        kept = np.empty(diagonal.shape, dtype=np.bool_)
        kept[:, :-1] = (D.weight > 0)[:, None]
        kept[:, -1] = has_one
        kept_multipliers = np.stack([has_one, has_null], axis=1).ravel()
        return Filled(
            np.concatenate([scaled, along]),
            np.concatenate([D.one.ravel(), D.null.ravel()]),
            diagonal.ravel(),
            np.where(kept_multipliers, 0.0, 1.0),
            kept.ravel(),
            kept_multipliers,
        )

    def reduce(self, D: Expansion, r: Columns) -> Reduced:
        r = r.reshape(self._count, self._size, -1)
        along = np.einsum("cs,csk->ck", D.one, r)[:, None]
        root = np.sqrt(D.weight)[:, None, None]
        return np.concatenate([np.where(root > 0, root * r, 0.0), along], axis=1).reshape(self.rows, -1)

    def expand(self, D: Expansion, omega: Reduced) -> Columns:
        omega = omega.reshape(self._count, self._size + 1, -1)
        root = np.sqrt(D.weight)[:, None, None]
        w = np.where(root > 0, root * omega[:, :-1], 0.0) + D.one[..., None] * omega[:, -1:]
        return np.asarray(w.reshape(self._count * self._size, -1))
