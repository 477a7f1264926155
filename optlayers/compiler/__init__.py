"""From a CVXPY problem to a parametric cone program: diagnosis, compilation, verification."""

from optlayers.compiler.compile import Problem, ProblemParameter, compile_problem
from optlayers.compiler.diagnosis import diagnose
from optlayers.compiler.recovery import Request

__all__ = ["Problem", "ProblemParameter", "Request", "compile_problem", "diagnose"]
