"""A cone program in the form of SCS.

SCS takes the rows in the order of the kinds of cones, the lower triangle of a semidefinite one, and of power cones the
three-dimensional only. Prod u_i^a_i >= |w| with k > 2 exponents is written with k - 2 new variables t as a chain,

    u_1^(a_1/c_2) u_2^(a_2/c_2) >= |t_2|,   t_j^(c_j/c_{j+1}) u_{j+1}^(a_{j+1}/c_{j+1}) >= |t_{j+1}|,   ...,   t_k = w,

c_j = a_1 + ... + a_j, and the dual cone, prod (u_i/a_i)^a_i >= |w|, as the same chain of dual cones: the shares cancel
from one to the next.

Each u_i and w has one row in the chain, and the multiplier of that row is the one of the original row. For t_j has cost
zero and the rows -t_j + s = 0 in two cones, so that the multipliers of the two add up to zero and their slacks are
equal: A'y and s'y are the same over the original rows as over the chain. Any s in K extends to the chain's cones, where
s'y >= 0, so that y is in K*.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from optlayers.cones import (
    AbstractCone,
    Dual,
    Exponential,
    Nonnegative,
    Power,
    Product,
    SecondOrder,
    Semidefinite,
    Zero,
)
from optlayers.cones.triangle import lower_from_upper
from optlayers.program import ConeProgram, Point
from optlayers.solvers.plain_cone import plain

KINDS = ("z", "l", "q", "s", "ep", "ed", "p")
"""SCS's kinds of cones, in the order of their rows: zero, nonnegative, second-order, semidefinite, exponential, its
dual, and power, whose dual has a negative exponent."""

COUNTED = ("z", "l", "ep", "ed")
"""The kinds that SCS describes by one number; the others by a list."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class ScsForm:
    """Where SCS's rows come from, and its description of the cones.

    rows: for each of its rows, the program's, or -1 for a row of a chain's new variable.
    chained: for each such row, the new variable, its slack.
    variables: the number of new variables, which follow the program's.
    cones: SCS's cone dictionary.
    in_order: whether its rows are the program's.
    """

    rows: Int[np.ndarray, " scs_rows"]
    chained: Int[np.ndarray, " chained"]
    variables: int
    cones: dict[str, Any]
    in_order: bool

    def data(self, program: ConeProgram) -> dict[str, Any]:
        """SCS's data; where the rows are in order, the program's own arrays."""
        if self.in_order:
            return {"P": program.P_upper, "A": program.A, "b": program.b, "c": program.q}
        if not self.variables:
            return {"P": program.P_upper, "A": program.A[self.rows], "b": program.b[self.rows], "c": program.q}
        size = program.structure.n + self.variables
        P = program.P_upper.copy()
        P.resize(size, size)
        return {
            "P": P,
            "A": self._chained_rows(program.A),
            "b": np.where(self.rows < 0, 0.0, program.b[self.rows]),
            "c": np.concatenate([program.q, np.zeros(self.variables)]),
        }

    def point(self, x: Float[np.ndarray, " size"], y: Float[np.ndarray, " k"], s: Float[np.ndarray, " k"]) -> Point:
        """The program's point of SCS's."""
        return Point(x[: len(x) - self.variables].copy(), self._original(y), self._original(s))

    def start(self, point: Point) -> dict[str, Float[np.ndarray, " size"]] | None:
        """SCS's starting point, or None if new variables and their multipliers would be needed."""
        if self.variables:
            return None
        return {"x": point.x, "y": point.y[self.rows], "s": point.s[self.rows]}

    def _chained_rows(self, A: sp.csc_matrix) -> sp.csc_matrix:
        new = self.rows < 0
        own = A.tocsr()[np.where(new, 0, self.rows)]
        own = sp.diags_array(np.where(new, 0.0, 1.0)) @ own
        places = (np.flatnonzero(new), self.chained)
        chained = sp.csc_matrix((-np.ones(len(self.chained)), places), shape=(len(self.rows), self.variables))
        return sp.csc_matrix(sp.hstack([own, chained]))

    def _original(self, vector: Float[np.ndarray, " scs_rows"]) -> Float[np.ndarray, " m"]:
        own = self.rows >= 0
        result = np.empty(int(own.sum()))
        result[self.rows[own]] = vector[own]
        return result


@lru_cache
def scs_form(product: Product) -> ScsForm:
    """SCS's form of a product of cones that it takes."""
    found: dict[str, list[_Piece]] = {kind: [] for kind in KINDS}
    start = variables = 0
    for factor in product.factors:
        cone, rows = plain(factor), np.arange(start, start + factor.size)
        start += factor.size
        kind = _kind(cone)
        if kind is not None and cone.size:
            pieces = _pieces(cone, rows, variables)
            found[kind] += pieces
            variables += len(pieces) - 1
    pieces = [piece for kind in KINDS for piece in found[kind]]
    none = np.zeros(0, dtype=np.int64)
    rows = np.concatenate([none, *(piece.rows for piece in pieces)])
    chained = np.concatenate([none, *(piece.chained for piece in pieces)])
    sizes = {kind: [piece.size for piece in found[kind]] for kind in KINDS if found[kind]}
    cones = {kind: sum(map(int, each)) if kind in COUNTED else each for kind, each in sizes.items()}
    return ScsForm(rows, chained, variables, cones, np.array_equal(rows, np.arange(len(rows))))


def is_taken(cone: AbstractCone) -> bool:
    """Whether SCS takes the cone."""
    return _kind(plain(cone)) is not None


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """One cone of SCS: the program's rows, its entry in the dictionary, the new variables of the rows that are -1."""

    rows: Int[np.ndarray, " rows"]
    size: int | float
    chained: Int[np.ndarray, " chained"]


def _kind(cone: AbstractCone) -> str | None:
    """SCS's name of the kind of a plain cone."""
    match cone:
        case Zero():
            return "z"
        case Nonnegative():
            return "l"
        case SecondOrder():
            return "q"
        case Semidefinite():
            return "s"
        case Exponential():
            return "ep"
        case Dual(cone=Exponential()):
            return "ed"
        case Power() | Dual(cone=Power()):
            return "p"
    return None


def _pieces(cone: AbstractCone, rows: Int[np.ndarray, " size"], variables: int) -> list[_Piece]:
    """The pieces of a plain cone; the first new variable that they may take is number `variables`."""
    none = np.zeros(0, dtype=np.int64)
    match cone:
        case Power(exponents=exponents):
            return _chain(exponents, rows, variables, sign=1)
        case Dual(cone=Power(exponents=exponents)):
            return _chain(exponents, rows, variables, sign=-1)
        case Semidefinite(order=order):
            return [_Piece(rows[lower_from_upper(order)], order, none)]
        case Exponential() | Dual():
            return [_Piece(rows, 1, none)]
    return [_Piece(rows, cone.size, none)]


def _chain(exponents: tuple[float, ...], rows: Int[np.ndarray, " size"], variables: int, sign: int) -> list[_Piece]:
    """The chain of a power cone of two or more exponents, `sign` -1 for its dual."""
    pieces, last = [], len(exponents) - 1
    for place in range(1, last + 1):
        share = sum(exponents[:place]) / sum(exponents[: place + 1])
        first = rows[0] if place == 1 else -1
        result = rows[-1] if place == last else -1
        before, after = variables + place - 2, variables + place - 1
        chained = [new for row, new in ((first, before), (result, after)) if row < 0]
        pieces.append(_Piece(np.array([first, rows[place], result]), sign * share, np.array(chained, dtype=np.int64)))
    return pieces
