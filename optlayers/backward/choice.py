"""Which backward method differentiates a structure."""

from __future__ import annotations

from optlayers.backward.abstract import AbstractBackward
from optlayers.backward.batched_dense import BatchedDense
from optlayers.backward.homogeneous import Homogeneous
from optlayers.backward.lsmr import LSMR
from optlayers.backward.minimum_norm import MinimumNorm
from optlayers.backward.smoothed import Smoothed
from optlayers.backward.sparse_direct import SparseDirect
from optlayers.errors import OptionError
from optlayers.kkt import Cost

METHODS: dict[str, type[AbstractBackward]] = {
    method.name: method for method in (SparseDirect, BatchedDense, LSMR, MinimumNorm, Smoothed)
}

DERIVATIONS = ("kkt", "hsde")
"""The equations that are differentiated: the optimality conditions, or the homogeneous self-dual residual map."""

LARGEST_FACTORIZATION = 8e9
"""Bytes of memory for one factorization above which the iterative method is the default."""


def choose_backward(cost: Cost, backward: str | AbstractBackward | None, derivative: str) -> AbstractBackward:
    """The named or given method, or by the size of the system if None; `OptionError` for what does not exist."""
    if derivative not in DERIVATIONS:
        raise OptionError(f"derivative must be one of {', '.join(DERIVATIONS)}; it is {derivative!r}.")
    if isinstance(backward, str):
        name = backward.lower().replace("_", " ")
        if name not in METHODS:
            raise OptionError(f"there is no backward method '{backward}'; the methods are {', '.join(METHODS)}.")
        backward = METHODS[name]()
    if not (backward is None or isinstance(backward, AbstractBackward)):
        raise OptionError(
            f"backward must be a name ({', '.join(METHODS)}), a method such as LSMR(tolerance=1e-10), or None; "
            f"it is {backward!r}."
        )
    if derivative == "hsde":
        if backward is None or isinstance(backward, Homogeneous):
            return backward or Homogeneous()
        if not isinstance(backward, LSMR):
            raise OptionError(
                f"derivative='hsde' is matrix-free: its method is LSMR, not {backward.name}. Leave backward out, or "
                "give LSMR with the tolerance and iterations that you want."
            )
        if backward.preconditioner != LSMR.preconditioner:
            raise OptionError(
                f"derivative='hsde' scales its equations itself: LSMR's preconditioner={backward.preconditioner!r} has "
                "no effect there. Leave preconditioner out."
            )
        return Homogeneous(backward.tolerance, backward.max_iterations)
    if backward is not None:
        return backward
    return LSMR() if cost.bytes > LARGEST_FACTORIZATION else SparseDirect()
