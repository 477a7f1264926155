"""The optimality conditions as a residual map: refinement of a point, and the derivative at it."""

from optlayers.kkt.central_path import CentralPoint, central_point
from optlayers.kkt.certificate import proves_infeasible, proves_unbounded
from optlayers.kkt.cost import Cost
from optlayers.kkt.data_derivative import data_jvp, data_vjp, matrix_cotangents, matrix_products
from optlayers.kkt.dense import SMALLEST_EIGENVALUE, SUSPICIOUS_GAIN, DenseSystem, is_solution, rounding_error
from optlayers.kkt.derivative import Derivative, DerivativeReport, derivative_report, differentiate
from optlayers.kkt.homogeneous import HomogeneousDerivative, differentiate_homogeneous
from optlayers.kkt.least_squares import least_squares
from optlayers.kkt.linear_solve import LinearSolution
from optlayers.kkt.linearization import Linearization, linearize
from optlayers.kkt.normalization import Normalized, balance, normalize
from optlayers.kkt.refinement import Refined, Refinement, refine
from optlayers.kkt.residual_map import Residual, evaluate, relative_residual, residual_operator
from optlayers.kkt.singular import Settled, settle
from optlayers.kkt.symmetric_system import SymmetricSystem

__all__ = [
    "SMALLEST_EIGENVALUE",
    "SUSPICIOUS_GAIN",
    "CentralPoint",
    "Cost",
    "DenseSystem",
    "Derivative",
    "DerivativeReport",
    "LinearSolution",
    "HomogeneousDerivative",
    "Linearization",
    "Normalized",
    "Refined",
    "Refinement",
    "Residual",
    "Settled",
    "SymmetricSystem",
    "balance",
    "central_point",
    "data_jvp",
    "data_vjp",
    "derivative_report",
    "differentiate",
    "differentiate_homogeneous",
    "evaluate",
    "is_solution",
    "least_squares",
    "linearize",
    "matrix_cotangents",
    "matrix_products",
    "normalize",
    "proves_infeasible",
    "proves_unbounded",
    "refine",
    "relative_residual",
    "residual_operator",
    "rounding_error",
    "settle",
]
