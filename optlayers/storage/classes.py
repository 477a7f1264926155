"""The classes whose objects a file may hold, by the names that stand for them in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from optlayers.backward import METHODS, AbstractBackward, Homogeneous
from optlayers.cones import Dual, Exponential, Nonnegative, Power, Product, SecondOrder, Semidefinite, Zero
from optlayers.kkt import Refinement
from optlayers.program import AffineMap, Output, Parameter, ParametricProgram, Pattern, Signature, Structure
from optlayers.program import parameter as rules
from optlayers.solvers import SOLVERS, Call


@final
@dataclass(frozen=True, eq=False)
class CSRMatrix:
    """A SciPy CSR matrix by its parts."""

    shape: tuple[int, int]
    data: Float[np.ndarray, " nnz"]
    indices: Int[np.ndarray, " nnz"]
    indptr: Int[np.ndarray, " ends"]

    @classmethod
    def of(cls, matrix: sp.csr_matrix) -> CSRMatrix:
        """The parts of a matrix; they share its memory."""
        rows, columns = matrix.shape
        return cls((int(rows), int(columns)), matrix.data, matrix.indices, matrix.indptr)

    def matrix(self) -> sp.csr_matrix:
        """The matrix of the parts, entry by entry in their order."""
        return sp.csr_matrix((self.data, self.indices, self.indptr), shape=self.shape)


@final
@dataclass(frozen=True, eq=False)
class StoredLayer:
    """What a layer is made of: the fields of its `ConeSolutionMap` but the symmetric system, which follows from the
    structure, and the cache, which starts empty; and why its solver was taken."""

    parametric: ParametricProgram
    call: Call
    refinement: Refinement
    backward: AbstractBackward
    solver_reason: str


_KINDS: dict[str, tuple[type, ...]] = {
    "cone": (Zero, Nonnegative, SecondOrder, Semidefinite, Exponential, Power, Dual),
    "rule": (rules.Sign, rules.Bounds, rules.Support, rules.Symmetric, rules.Semidefinite),
    "program": (AffineMap, CSRMatrix, Output, Parameter, ParametricProgram, Pattern, Product, Signature, Structure),
    "solver": tuple(SOLVERS.values()),
    "backward": (*METHODS.values(), Homogeneous),
    "settings": (Call, Refinement),
    "layer": (StoredLayer,),
}

CLASSES: dict[str, type] = {f"{kind} {each.__name__}": each for kind, classes in _KINDS.items() for each in classes}
"""The only classes that reading a file constructs."""

NAMES: dict[type, str] = {each: name for name, each in CLASSES.items()}
"""The same from the other side."""
