"""Why a CVXPY problem cannot be compiled as a geometric program: the expression at fault, its place, the next step.

A problem compiles with gp=True if it is log-log convex by the rules of disciplined geometric programming (DGP): convex
in the logarithms of its variables. Its data must be affine in the exponents and in the logarithms of the parameters.

Source: Agrawal, Diamond, Boyd (2019), "Disciplined geometric programming".
"""

from __future__ import annotations

import cvxpy as cp
from cvxpy.atoms.affine.unary_operators import NegExpression
from cvxpy.atoms.atom import Atom
from cvxpy.constraints import Equality, Inequality
from cvxpy.utilities import scopes

from optlayers.compiler.curvature import Curvature, Part, list_demands, shorten
from optlayers.compiler.diagnosis import reject_discrete, reject_unsupported
from optlayers.errors import NotConvexError, NotDPPError, ProblemError

ONE_PARAMETER = (
    "compute the part that has only parameters before the layer (with torch or jax, which differentiate it), and pass "
    "it as one new parameter, p_to_a for p ** a"
)


def diagnose_geometric(problem: cp.Problem) -> None:
    """Raise the first reason why `problem` cannot be compiled as a geometric program; return None if there is none.

    Raises `MixedIntegerError`, `UnsupportedError`, `NotConvexError`, `NotDPPError`.
    """
    reject_discrete(problem)
    reject_unsupported(problem)
    headline = "the problem is not log-log convex by the rules of disciplined geometric programming (DGP)"
    fault = find_fault(problem)
    if fault is not None:
        raise _describe(NotConvexError, headline, fault, *_explain(fault))
    if not problem.is_dgp():
        raise NotConvexError(f"{headline}: {shorten(problem.objective)}")
    headline = (
        "the problem is log-log convex, but the logarithms of its data are not affine in the parameters (not DPP)"
    )
    with scopes.dpp_scope():
        fault = find_fault(problem)
    if fault is not None:
        names = ", ".join(dict.fromkeys(parameter.name() for parameter in fault.expression.parameters()))
        raise _describe(
            NotDPPError,
            headline,
            fault,
            f"its parameters ({names}) are more than factors of monomials and exponents of variables",
            ONE_PARAMETER,
        )
    if not problem.is_dpp("dgp"):
        raise NotDPPError(f"{headline}: {shorten(problem.objective)}")


def find_fault(problem: cp.Problem) -> Part | None:
    """The smallest part of the first that misses its log-log curvature, in CVXPY's active scope; None if none does."""
    for part in list_demands(problem):
        allowed = not isinstance(part.place.item, cp.Constraint) or isinstance(part.place.item, Inequality | Equality)
        if not allowed or not _holds(part):
            return _smallest(part) if allowed else part
    return None


def _smallest(part: Part) -> Part:
    arguments = part.expression.args if isinstance(part.expression, Atom) else []
    for inner in (part.enter(argument, Curvature.ANY) for argument in arguments):
        if not _holds(inner):
            return _smallest(inner)
    return part


def _holds(part: Part) -> bool:
    convex, concave = bool(part.expression.is_log_log_convex()), bool(part.expression.is_log_log_concave())
    return {
        Curvature.AFFINE: convex and concave,
        Curvature.CONVEX: convex,
        Curvature.CONCAVE: concave,
        Curvature.ANY: convex or concave,
    }[part.need]


def _explain(fault: Part) -> tuple[str, str]:
    """The reason and the next step."""
    expression, place = fault.expression, fault.place.item
    if isinstance(place, cp.Constraint) and not isinstance(place, Inequality | Equality):
        return "a geometric program has no constraints but equalities and inequalities", "write it as one of these"
    if isinstance(expression, cp.Variable | cp.Parameter):
        return "it is not declared positive", f"declare it, {type(expression).__name__}(..., pos=True)"
    if isinstance(expression, cp.Constant):
        return "it is not positive", "leave it out, or move it to the other side of the constraint"
    if isinstance(expression, NegExpression):
        return (
            "it is not positive, and differences are not log-log convex",
            "move it to the other side of the constraint, or use cp.diff_pos(u, v) for u - v, or cp.one_minus_pos(v) "
            "for 1 - v, where positive numbers are to be at most that",
        )
    if expression.parameters() and not expression.variables():
        return "the rules do not allow this function of parameters here", ONE_PARAMETER
    needed = "log-log convex or log-log concave" if fault.need is Curvature.ANY else f"log-log {fault.need.value}"
    return (
        f"it is not {needed} by the rules, and must be here",
        "minimise sums of monomials in positive variables; let such sums be at most monomials, and let only monomials "
        "be equal",
    )


def _describe(error: type[ProblemError], headline: str, fault: Part, reason: str, next_step: str) -> ProblemError:
    return error(
        f"{headline}.\n"
        f"  expression: {shorten(fault.expression)}\n"
        f"  place: {fault.place.name}\n"
        f"  reason: {reason}\n"
        f"  next step: {next_step}"
    )
