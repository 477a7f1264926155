"""What the user reads of a fault: the expression, its place, the reason and the next step, a way to rewrite it.

Two tables hold the reasons and the rewritings, one for expressions that are not convex and one for expressions that
are not affine in the parameters. The first rule that applies to a fault speaks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import UnionType
from typing import final

import cvxpy as cp
from cvxpy.atoms.affine.binary_operators import DivExpression, MulExpression
from cvxpy.atoms.atom import Atom
from cvxpy.constraints import Equality, Inequality

from optlayers.compiler.curvature import Curvature, Part, divides_by_parameter, list_arguments, shorten
from optlayers.errors import ProblemError, UnsupportedError


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """What to say of a fault that is a `kind` of expression and satisfies `when`.

    An empty `reason` stands for the curvatures that do not fit, an empty `error` for that of the caller.
    """

    kind: type | UnionType
    rewrite: str
    reason: str = ""
    when: Callable[[Part], bool] = lambda fault: True
    error: type[ProblemError] | None = None


def describe(error: type[ProblemError], headline: str, fault: Part, rules: tuple[Rule, ...]) -> ProblemError:
    """The error for a fault, with the text of the first rule that applies."""
    rule = next(rule for rule in rules if isinstance(fault.expression, rule.kind) and rule.when(fault))
    fields = {
        "parameters": ", ".join(dict.fromkeys(parameter.name() for parameter in fault.expression.parameters())),
        "whole": shorten(widen_to_parameters(fault)),
    }
    return (rule.error or error)(
        f"{headline}.\n"
        f"  expression: {shorten(fault.expression)}\n"
        f"  place: {fault.place.name}\n"
        f"  reason: {rule.reason.format(**fields) or explain_curvature(fault)}\n"
        f"  next step: {rule.rewrite.format(**fields)}"
    )


def widen_to_parameters(fault: Part) -> cp.Expression:
    """The largest non-affine expression without variables around a fault, as `p * q / r` around `p * q`."""
    around = (atom for atom in fault.above if not atom.variables() and not Curvature.AFFINE.suits(atom))
    return next(around, fault.expression)


def explain_curvature(fault: Part) -> str:
    """Why the composition rule rejects a fault, in words."""
    arguments = list_arguments(replace(fault, need=Curvature.ANY))
    unmet = next((argument for argument in arguments if not argument.is_met), None)
    if unmet is not None and not Curvature.ANY.holds(fault.expression):
        return (
            f"{type(fault.expression).__name__} needs its argument {unmet.need.value} here, "
            f"but {shorten(unmet.expression)} is {name_curvature(unmet.expression)}"
        )
    around = [atom for atom in fault.above if not Curvature.AFFINE.suits(atom)]
    where = f"inside {type(around[-1]).__name__}" if around else f"since {fault.place.rule}"
    return f"it is {name_curvature(fault.expression)}, but must be {fault.need.value} here, {where}"


def name_curvature(expression: cp.Expression) -> str:
    """The curvature of an expression in words."""
    order = (Curvature.AFFINE, Curvature.CONVEX, Curvature.CONCAVE)
    return next((kind.value for kind in order if kind.holds(expression)), "neither convex nor concave")


def is_allowed_nowhere(fault: Part) -> bool:
    """Whether the expression is neither convex nor concave, so that no place allows it."""
    return not Curvature.ANY.holds(fault.expression)


def is_unexpected_in(place: type | UnionType) -> Callable[[Part], bool]:
    """Whether a fault is convex or concave, and this kind of place does not allow which."""
    return lambda fault: isinstance(fault.place.item, place) and Curvature.ANY.holds(fault.expression)


CONVEXITY_RULES = (
    Rule(
        MulExpression | DivExpression,
        "declare the sign of a parameter, cp.Parameter(..., nonneg=True) or nonpos=True (a factor built from several "
        "becomes one new parameter); split a constant of both signs into its positive and its negative part",
        "the sign of one factor, data, decides whether it is convex or concave, and is not known or not everywhere the "
        "same (parameters: {parameters})",
        lambda fault: Curvature.AFFINE.suits(fault.expression),
    ),
    Rule(
        MulExpression | cp.Prod,
        "use cp.square(v) for v * v, cp.sum_squares(v) for v @ v, cp.quad_form(v, P) for v @ P @ v, -cp.entr(v) for "
        "v * log(v), cp.rel_entr(v, w) for v * log(v / w); maximize cp.geo_mean(v) or cp.sum(cp.log(v)) for "
        "cp.prod(v); otherwise make all factors but one data, numbers or cp.Parameter",
        "a product of variables is neither convex nor concave by the rules",
    ),
    Rule(
        DivExpression,
        "use cp.inv_pos(v) for 1 / v and cp.quad_over_lin(u, v) for sum_squares(u) / v, which take v > 0; otherwise "
        "multiply the constraint by the denominator, if that is positive, or make the denominator data",
        "a quotient with a variable below is neither convex nor concave by the rules",
    ),
    Rule(
        cp.QuadForm,
        "declare it, cp.Parameter((n, n), PSD=True); an expression that is positive semidefinite for all values of its "
        "parameters, or but for rounding, goes into cp.psd_wrap(...)",
        "its matrix is not known to be positive semidefinite, or negative",
        lambda fault: not Curvature.ANY.suits(fault.expression),
    ),
    Rule(
        cp.Power,
        "make the exponent a number, and build one problem for each exponent",
        "the exponent {parameters} decides whether it is convex or concave, and its value is not known",
        lambda fault: fault.expression.p_used is None,
    ),
    Rule(
        cp.Power,
        "use cp.norm(v, 2) for sqrt(sum_squares(v)), cp.norm(L @ v, 2) for sqrt(quad_form(v, L.T @ L)), where a "
        "constant goes into the vector, cp.norm(cp.hstack([v, c]), 2); use cp.pos(v) ** p for v ** p, which grows with "
        "v only where v is positive, if negative values of v count as zero",
        when=is_allowed_nowhere,
    ),
    Rule(
        cp.log | cp.exp,
        "log(exp(v)) is v, exp(log(v)) is v; use cp.logistic(v) for log(1 + exp(v)), cp.log_sum_exp(v) for "
        "log(sum(exp(v)))",
        when=is_allowed_nowhere,
    ),
    Rule(
        Atom,
        "replace it by a convex or concave approximation; for a general smooth problem use the implicit layers (root, "
        "fixed_point, argmin)",
        "it has no place in convex problems, only in quasiconvex (DQCP) or nonlinear (DNLP) ones",
        lambda fault: not Curvature.ANY.suits(fault.expression),
        UnsupportedError,
    ),
    Rule(
        cp.Expression,
        "bound an affine expression instead (the points where a convex function is large do not form a convex set), "
        "apply the inverse function to both sides, as v <= c ** 2 for sqrt(v) <= c, or linearise the function at a "
        "point that is passed as a parameter",
        when=is_unexpected_in(Inequality | cp.NonNeg | cp.NonPos),
    ),
    Rule(
        cp.Expression,
        "relax the equality to an inequality (<= for a convex, >= for a concave left side) if the optimum makes it "
        "tight, or rewrite it with affine sides",
        when=is_unexpected_in(Equality | cp.Zero),
    ),
    Rule(
        cp.Expression,
        "check the sign, and minimize against maximize; otherwise linearise this term at a point that is passed as a "
        "parameter",
        when=is_unexpected_in(cp.Minimize | cp.Maximize),
    ),
    Rule(
        cp.Expression,
        "build it from CVXPY's convex and concave functions by the composition rule, "
        "https://www.cvxpy.org/tutorial/dcp/",
    ),
)

OF_NEW_PARAMETER = (
    "compute its value before the layer (with torch or jax, which differentiate it) and pass that; declare what is "
    "known of it, nonneg=True, nonpos=True or PSD=True"
)

PARAMETER_RULES = (
    Rule(
        cp.Expression,
        "make {whole} one new parameter: " + OF_NEW_PARAMETER,
        "it must be affine in the parameters ({parameters}), and is not",
        lambda fault: not fault.expression.variables(),
    ),
    Rule(
        DivExpression | cp.quad_over_lin,
        "introduce a new parameter inv_p for 1 / p, where p is the denominator, and multiply by it: "
        + OF_NEW_PARAMETER,
        "it divides by a parameter: parameters may multiply variables, not divide them",
        divides_by_parameter,
    ),
    Rule(
        MulExpression | cp.QuadForm,
        "state these bounds as constraints (low <= x, x <= high) instead of bounds=[low, high]",
        "a variable in it has parameters in its bounds, which CVXPY counts as parameters of the variable",
        lambda fault: any(variable.parameters() for variable in fault.expression.variables()),
    ),
    Rule(
        cp.QuadForm,
        "use cp.sum_squares(L @ x) with a new parameter L, where P = L.T @ L: factor P before the layer (with torch or "
        "jax, which differentiate it) and pass L",
        "the matrix of a quadratic form may have parameters in the objective only, in sums and multiples by numbers",
        lambda fault: bool(fault.expression.args[1].parameters()) and (not fault.place.is_objective or fault.is_buried),
    ),
    Rule(
        cp.QuadForm,
        "introduce a variable z with the constraint z == v, where v is the vector of the form, and use "
        "cp.quad_form(z, P)",
        "its vector has parameters, which CVXPY does not admit in a quadratic form of the objective",
        lambda fault: bool(fault.expression.args[0].parameters()),
    ),
    Rule(
        cp.QuadForm,
        "introduce a variable z with the constraint z == v, where v is the vector of the form (z >= v if v is convex, "
        "z <= v if it is concave), and use cp.quad_form(z, P)",
        "its vector needs cones of its own, which CVXPY does not admit in a quadratic form of the objective",
        error=UnsupportedError,
    ),
    Rule(
        cp.conv | cp.convolve | cp.kron,
        "write it as T @ x with the matrix T of this linear map as a new parameter: " + OF_NEW_PARAMETER,
        "CVXPY does not admit parameters ({parameters}) in a convolution or Kronecker product",
    ),
    Rule(
        MulExpression,
        "make each product of parameters one new parameter, (p * q) * x for p * (q * x), A @ x - b with b = A @ p for "
        "A @ (x - p): " + OF_NEW_PARAMETER,
        "both factors have parameters ({parameters}), which are multiplied with each other",
    ),
    Rule(
        cp.Expression,
        "make the part that has parameters and is not affine in them one new parameter: " + OF_NEW_PARAMETER,
    ),
)
