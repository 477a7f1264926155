"""The optimality conditions as a residual map: refinement of a point, and the derivative at it."""

from optlayers.kkt.certificate import proves_infeasible, proves_unbounded
from optlayers.kkt.derivative import Derivative, DerivativeReport, differentiate
from optlayers.kkt.refinement import Refined, Refinement, refine
from optlayers.kkt.residual_map import Residual, evaluate, relative_residual
from optlayers.kkt.symmetric_system import SymmetricSystem

__all__ = [
    "Derivative",
    "DerivativeReport",
    "Refined",
    "Refinement",
    "Residual",
    "SymmetricSystem",
    "differentiate",
    "evaluate",
    "proves_infeasible",
    "proves_unbounded",
    "refine",
    "relative_residual",
]
