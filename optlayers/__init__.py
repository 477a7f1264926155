"""optlayers: parametric CVXPY problems as exact differentiable layers.

`optlayers.torch` and `optlayers.jax` hold the layers; `compile` gives the same solution map on NumPy arrays.
"""

from optlayers.backward import LSMR, BatchedDense, Homogeneous, MinimumNorm, Smoothed, SparseDirect
from optlayers.compiled import CompiledProblem, Solution, compile
from optlayers.errors import OptLayersError, OptLayersWarning, Status
from optlayers.solvers import OSQP, SCS, Clarabel

__version__ = "0.1.0"

__all__ = [
    "LSMR",
    "OSQP",
    "SCS",
    "BatchedDense",
    "Clarabel",
    "CompiledProblem",
    "Homogeneous",
    "MinimumNorm",
    "OptLayersError",
    "OptLayersWarning",
    "Smoothed",
    "Solution",
    "SparseDirect",
    "Status",
    "compile",
]
