"""Why a CVXPY problem cannot be compiled: the smallest expression at fault, its place, the reason, the next step.

A problem compiles if its parameters are real, its variables continuous, if it is convex by the rules of disciplined
convex programming (DCP), and if its data are affine in the parameters (DPP: the same rules, parameters counted as
variables).

Source: Agrawal et al. (2019), "Differentiable convex optimization layers", section 4.1.
"""

from __future__ import annotations

from contextlib import nullcontext

import cvxpy as cp
from cvxpy.reductions.dcp2cone.canonicalizers import CANON_METHODS
from cvxpy.utilities import scopes

from optlayers.compiler.curvature import (
    Curvature,
    Part,
    list_demands,
    shorten,
    smallest_fault,
    smallest_parametric_fault,
)
from optlayers.compiler.rewriting import CONVEXITY_RULES, PARAMETER_RULES, describe
from optlayers.errors import MixedIntegerError, NotConvexError, NotDPPError, UnsupportedError


def diagnose(problem: cp.Problem) -> None:
    """Raise the first reason why `problem` cannot be compiled; return None if there is none.

    Raises `MixedIntegerError`, `UnsupportedError`, `NotConvexError`, `NotDPPError`. A quadratic form whose matrix is a
    parameter passes in the objective, where it becomes the P of the program, and nowhere else.
    """
    reject_discrete(problem)
    reject_unsupported(problem)
    reject_nonconvex(problem)
    reject_parametric_exponents(problem)
    reject_nonaffine_parameters(problem)
    reject_misjudged(problem)


def reject_discrete(problem: cp.Problem) -> None:
    """Raise `MixedIntegerError` if a variable may take separate values only."""
    found = [f"variable {v.name()}" for v in problem.variables() if len(v.boolean_idx) + len(v.integer_idx) > 0]
    found += [
        f"constraints[{index}], {shorten(constraint)},"
        for index, constraint in enumerate(problem.constraints)
        if isinstance(constraint, cp.FiniteSet)
    ]
    if found:
        raise MixedIntegerError(
            f"{found[0]} takes separate values only (boolean, integer or a finite set), but a layer needs continuous "
            "variables: the solution jumps as the parameters change, and has no useful derivative.\n"
            "  next step: relax it, and round the result if need be: bounds=[0, 1] for boolean=True; leave integer out "
            "and keep its range by bounds=[low, high]; the interval from the smallest to the largest value for a set"
        )


def reject_unsupported(problem: cp.Problem) -> None:
    """Raise `UnsupportedError` if the problem has no variable, or a complex parameter."""
    if not problem.variables():
        raise UnsupportedError(
            f"the problem has no variable: {shorten(problem.objective)}.\n"
            "  next step: compute its value from the parameters directly, no layer is needed"
        )
    for parameter in problem.parameters():
        if parameter.is_complex():
            raise UnsupportedError(
                f"parameter {parameter.name()} is complex, but the arguments of layers are real.\n"
                "  next step: make it of two real parameters, real + 1j * imaginary"
            )


def reject_nonconvex(problem: cp.Problem) -> None:
    """Raise `NotConvexError` if the problem is not DCP; `UnsupportedError` if an atom has no convex use at all."""
    if problem.is_dcp():
        return
    if problem.is_dgp():
        raise NotConvexError(
            f"the problem is not convex, but a geometric program (convex in the logarithms of its positive variables): "
            f"{shorten(problem.objective)}.\n"
            "  next step: make the layer with gp=True"
        )
    headline = "the problem is not convex by the rules of disciplined convex programming (DCP)"
    for part in list_demands(problem):
        if not part.is_met:
            raise describe(NotConvexError, headline, smallest_fault(part), CONVEXITY_RULES)
    raise NotConvexError(f"{headline}: {shorten(problem.objective)}")


def reject_parametric_exponents(problem: cp.Problem) -> None:
    """Raise `NotDPPError` if the exponent of a power cone is a parameter."""
    for index, constraint in enumerate(problem.constraints):
        if isinstance(constraint, cp.PowCone3D | cp.PowConeND) and constraint.alpha.parameters():
            raise NotDPPError(
                f"constraints[{index}], {shorten(constraint)}, has a parameter as the exponent of a power cone, which "
                "belongs to the structure of the program, not to its data.\n"
                "  next step: make the exponent a number, and build one problem for each exponent"
            )


def reject_nonaffine_parameters(problem: cp.Problem) -> None:
    """Raise `NotDPPError` if the problem is DCP but its data are not affine in the parameters."""
    headline = "the problem is convex, but its data are not affine in the parameters (it is not DPP)"
    for part in list_demands(problem):
        with scopes.dpp_scope(), scopes.quad_form_dpp_scope() if part.place.is_objective else nullcontext():
            if not part.is_met:
                raise describe(NotDPPError, headline, smallest_parametric_fault(part), PARAMETER_RULES)
    if not problem.is_dpp("dcp", quad_form_dpp="qp"):
        raise NotDPPError(f"{headline}: {shorten(problem.objective)}")


def reject_misjudged(problem: cp.Problem) -> None:
    """Raise `NotDPPError` or `UnsupportedError` for what CVXPY counts as DPP but cannot compile."""
    headline = "the problem is convex, but CVXPY cannot compile this part of it"
    with scopes.dpp_scope():
        for part in (inner for demand in list_demands(problem) for inner in demand.walk()):
            fault = find_misjudged(part)
            if fault is not None:
                raise describe(NotDPPError, headline, fault, PARAMETER_RULES)


def find_misjudged(part: Part) -> Part | None:
    """The fault in a Huber function or in a quadratic form of the objective that CVXPY counts as DPP, if there is one.

    CVXPY does not look at the threshold of a Huber function, and takes one of constants for a constant. A quadratic
    form becomes the P of the program; it cannot if an atom with a conic form stands around it, where its matrix must
    not have parameters, or inside its vector.
    """
    match part.expression:
        case cp.huber(M=threshold) if not Curvature.AFFINE.holds(threshold):
            return smallest_fault(part.enter(threshold, Curvature.AFFINE))
        case cp.huber(M=threshold) if threshold.parameters() and part.expression.is_constant():
            return part
        case cp.QuadForm(args=[_, matrix]) if part.place.is_objective and part.is_buried:
            return part if matrix.parameters() else None
        case cp.QuadForm(args=[vector, _]) if part.place.is_objective:
            inside = [inner.expression for inner in part.enter(vector, Curvature.ANY).walk()]
            return part if any(type(atom) in CANON_METHODS and atom.variables() for atom in inside) else None
    return None
