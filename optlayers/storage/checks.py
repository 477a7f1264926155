"""What must hold of the objects of a file beyond the types of their fields.

Code below the front-ends relies on what the compiler guarantees (indices within their matrix, sizes that fit), and
compiled code among it does not look again. So whatever a file says is checked here. Each check raises `ValueError`.
"""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Any

import numpy as np

from optlayers.cones import Nonnegative, Product, SecondOrder, Semidefinite, Zero
from optlayers.kkt import Refinement
from optlayers.program import AffineMap, Output, Parameter, ParametricProgram, Pattern, Structure
from optlayers.program import parameter as rules
from optlayers.solvers import AbstractSolver, Call, try_out
from optlayers.storage.classes import CSRMatrix, StoredLayer

LARGEST_SIZE = 2**31 - 1
"""Largest number of rows, columns or entries: that of a 32-bit index."""


@singledispatch
def check(_value: Any) -> None:
    """Raise `ValueError` unless the object is consistent; a class without a check of its own always is."""


def _require(holds: bool | np.bool_, expectation: str) -> None:
    if not holds:
        raise ValueError(f"{expectation} is expected")


def _check_sizes(sizes: tuple[int, ...], least: int = 0) -> None:
    _require(all(size >= least for size in sizes), f"sizes of at least {least}")
    _require(math.prod(sizes) <= LARGEST_SIZE, f"a size of at most {LARGEST_SIZE}")


def _check_compressed(indptr: np.ndarray, indices: np.ndarray, lines: int, across: int) -> None:
    """Of a compressed sparse matrix of `lines` rows (columns, if by columns) with indices below `across`."""
    _require(0 <= lines <= LARGEST_SIZE and 0 <= across <= LARGEST_SIZE, f"a shape up to {LARGEST_SIZE}")
    _require(indptr.ndim == 1 and len(indptr) == lines + 1, f"an indptr of length {lines + 1}")
    _require(indptr[0] == 0 and indptr[-1] == len(indices), f"an indptr from 0 to {len(indices)}")
    _require((indptr[1:] >= indptr[:-1]).all(), "an ascending indptr")
    _require(indices.ndim == 1, "a vector of indices")
    inside = not len(indices) or (indices.min() >= 0 and indices.max() < across)
    _require(inside, f"indices from 0 to below {across}")


@check.register
def _(value: CSRMatrix) -> None:
    _check_compressed(value.indptr, value.indices, *value.shape)
    _require(value.data.shape == value.indices.shape, "one index for each entry")


@check.register
def _(value: Pattern) -> None:
    _check_compressed(value.indptr, value.rows, value.shape[1], value.shape[0])
    ascending = (np.diff(value.rows) > 0) | (np.diff(value.columns) > 0)
    _require(ascending.all(), "positions that ascend within a column")


@check.register
def _(value: AffineMap) -> None:
    _require(value.offset.shape == (value.matrix.shape[0],), "an offset with one entry for each row of the matrix")


@check.register
def _(value: Zero | Nonnegative) -> None:
    _check_sizes((value.count,))


@check.register
def _(value: SecondOrder) -> None:
    _check_sizes((value.dimension,), 1)


@check.register
def _(value: Semidefinite) -> None:
    _check_sizes((value.order, value.order), 1)


@check.register
def _(value: Product) -> None:
    _check_sizes((value.size,))


@check.register
def _(value: Structure) -> None:
    _require(value.P.shape == (value.n, value.n), f"P of shape {(value.n, value.n)}")
    _require((value.P.rows <= value.P.columns).all(), "the upper triangle of P")
    _require(value.cones.size == value.m, f"cones of {value.m} rows")


@check.register
def _(value: Parameter) -> None:
    _check_sizes(value.shape)
    for rule in value.rules:
        match rule:
            case rules.Bounds():
                _require(rule.lower.shape == rule.upper.shape == value.shape, f"bounds of shape {value.shape}")
                _require(not (np.isnan(rule.lower).any() or np.isnan(rule.upper).any()), "bounds that are numbers")
            case rules.Support():
                _require(rule.mask.shape == value.shape, f"a mask of shape {value.shape}")
            case rules.Symmetric() | rules.Semidefinite():
                _require(len(value.shape) == 2 and value.shape[0] == value.shape[1], "a square matrix")


@check.register
def _(value: Output) -> None:
    _check_sizes(value.shape)


@check.register
def _(value: ParametricProgram) -> None:
    structure, signature = value.structure, value.signature
    maps = {
        "data": (value.data, (structure.data_size, signature.p)),
        "constant": (value.constant, (1, signature.p)),
        "recovery": (value.recovery, (signature.k, structure.n + structure.m)),
    }
    for name, (found, shape) in maps.items():
        _require(found.matrix.shape == shape, f"a {name} map of shape {shape}, not {found.matrix.shape},")


@check.register
def _(value: Refinement) -> None:
    numbers = (value.tolerance, value.target, value.stalled, value.first_weight, value.weight_factor, value.last_weight)
    _require(all(math.isfinite(number) and number > 0 for number in numbers), "positive numbers")
    _require(min(value.newton_limit, value.proximal_limit) >= 0, "limits of at least 0")


@check.register
def _(value: AbstractSolver) -> None:
    files = value.file_options & value.options.keys()
    _require(not files, f"no option that names a file to write ({', '.join(sorted(files))})")


@check.register
def _(value: Call) -> None:
    _require(all(each is None or each >= 1 for each in (value.forward_threads, value.backward_threads)), "a thread")
    try_out(value.solver)


@check.register
def _(value: StoredLayer) -> None:
    value.call.solver.require(value.parametric.structure.cones)
