"""optlayers: parametric CVXPY problems as exact differentiable layers.

`optlayers.torch` and `optlayers.jax` hold the layers; `compile` gives the same solution map on NumPy arrays.
"""

from optlayers.backward import LSMR, BatchedDense, Homogeneous, MinimumNorm, Smoothed, SparseDirect
from optlayers.compiled import CompiledProblem, Solution, compile, load
from optlayers.errors import OptLayersError, OptLayersWarning, Status
from optlayers.solvers import OSQP, SCS, Clarabel
from optlayers.version import VERSION

__version__ = VERSION

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
    "load",
]
