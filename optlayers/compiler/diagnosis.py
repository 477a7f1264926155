"""Why a CVXPY problem cannot be compiled: the smallest expression at fault, its place, the reason, the next step.

A problem compiles if its variables are real and continuous, if it is convex by the rules of disciplined convex
programming (DCP), and if its data are affine in the parameters (DPP: the same rules, parameters counted as variables).

Both kinds of fault are found by one search. Every place of a problem demands a curvature of an expression ("minimize
needs a convex expression"), and the composition rule hands the demand down: f(g_1, ..., g_k) is convex if f is convex
and each g_i is affine, or convex where f increases, or concave where f decreases. The search follows unmet demands
downwards and stops at an expression that fails although each of its arguments has a curvature.

Sources: Grant, Boyd, Ye (2006), "Disciplined convex programming"; Agrawal et al. (2019), "Differentiable convex
optimization layers", section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, final

import cvxpy as cp
from cvxpy.atoms.affine.add_expr import AddExpression
from cvxpy.atoms.affine.binary_operators import DivExpression, MulExpression
from cvxpy.atoms.affine.broadcast_to import broadcast_to
from cvxpy.atoms.affine.conv import conv, convolve
from cvxpy.atoms.affine.kron import kron
from cvxpy.atoms.affine.promote import Promote
from cvxpy.atoms.atom import Atom
from cvxpy.atoms.elementwise.exp import exp
from cvxpy.atoms.elementwise.huber import huber
from cvxpy.atoms.elementwise.log import log
from cvxpy.atoms.elementwise.power import Power
from cvxpy.atoms.prod import Prod
from cvxpy.atoms.quad_form import QuadForm
from cvxpy.atoms.quad_over_lin import quad_over_lin
from cvxpy.constraints.finite_set import FiniteSet
from cvxpy.constraints.nonpos import Inequality, NonNeg, NonPos
from cvxpy.constraints.power import PowCone3D, PowConeND
from cvxpy.constraints.zero import Equality, Zero
from cvxpy.reductions.dcp2cone.canonicalizers import CANON_METHODS
from cvxpy.utilities import scopes

from optlayers.errors import MixedIntegerError, NotConvexError, NotDPPError, ProblemError, UnsupportedError

MOST_CHARACTERS_SHOWN = 120


def diagnose(problem: cp.Problem) -> None:
    """Raise the first reason why `problem` cannot be compiled; return None if there is none.

    Raises `MixedIntegerError`, `UnsupportedError`, `NotConvexError`, `NotDPPError`, in this order. A quadratic form
    whose matrix is a parameter passes in the objective, where it becomes the P of the program, and nowhere else.
    """
    reject_discrete(problem)
    reject_unsupported(problem)
    reject_nonconvex(problem)
    reject_nonaffine_parameters(problem)


def reject_discrete(problem: cp.Problem) -> None:
    """Raise `MixedIntegerError` if a variable may take separate values only."""
    for variable in problem.variables():
        for kind, indices in (("boolean", variable.boolean_idx), ("integer", variable.integer_idx)):
            if len(indices) > 0:
                raise MixedIntegerError(
                    f"variable {variable.name()} is {kind}, but a layer needs continuous variables: the solution jumps "
                    "as the parameters change, and has no useful derivative.\n"
                    f"  next step: {RELAXATIONS[kind]}"
                )
    for index, constraint in enumerate(problem.constraints):
        if isinstance(constraint, FiniteSet):
            raise MixedIntegerError(
                f"constraints[{index}], {shorten(constraint)}, allows separate values only, but a layer needs "
                "continuous variables: the solution jumps as the parameters change, and has no useful derivative.\n"
                "  next step: relax it to the interval from the smallest to the largest value"
            )


def reject_unsupported(problem: cp.Problem) -> None:
    """Raise `UnsupportedError` if the problem has no variable, or complex variables or parameters."""
    if not problem.variables():
        raise UnsupportedError(
            f"the problem has no variable: {shorten(problem.objective)}.\n"
            "  next step: compute its value from the parameters directly, no layer is needed"
        )
    for leaf in [*problem.variables(), *problem.parameters()]:
        if leaf.is_complex():
            kind = "parameter" if isinstance(leaf, cp.Parameter) else "variable"
            raise UnsupportedError(
                f"{kind} {leaf.name()} is complex, but layers are real.\n"
                f"  next step: state the problem with two real {kind}s, the real and the imaginary part"
            )


def reject_nonconvex(problem: cp.Problem) -> None:
    """Raise `NotConvexError` if the problem is not DCP; `UnsupportedError` if an atom has no convex use at all."""
    if problem.is_dcp():
        return
    headline = "the problem is not convex by the rules of disciplined convex programming (DCP)"
    for place in list_places(problem):
        fault = find_fault(problem, place)
        if fault is not None:
            raise describe(headline, fault, CONVEXITY_RULES)
    raise NotConvexError(f"{headline}: {shorten(problem.objective)}")


def reject_nonaffine_parameters(problem: cp.Problem) -> None:
    """Raise `NotDPPError` if the problem is DCP but its data are not affine in the parameters."""
    headline = "the problem is convex, but its data are not affine in the parameters (it is not DPP)"
    for place in list_places(problem):
        with count_parameters_as_variables(place):
            fault = find_fault(problem, place) or find_hidden_fault(problem, place)
            if fault is not None:
                raise describe(headline, narrow_to_parameters(fault) or fault, PARAMETER_RULES)
    is_dpp: Callable[..., bool] = problem.is_dpp
    if not is_dpp("dcp", quad_form_dpp="qp"):
        raise NotDPPError(f"{headline}: {shorten(problem.objective)}")


# Places and their demands


@final
class Curvature(Enum):
    """What a place demands of an expression; `value` is the text that messages print."""

    CONVEX = "convex"
    CONCAVE = "concave"
    AFFINE = "affine"
    CONSTANT = "constant"
    ANY = "convex or concave"

    def holds(self, expression: cp.Expression) -> bool:
        """Whether `expression` has this curvature by the composition rule, in the active scope."""
        if self is Curvature.CONSTANT:
            return bool(expression.is_constant())
        return self._choose(expression.is_convex(), expression.is_concave())

    def suits(self, atom: Atom) -> bool:
        """Whether `atom`, as a function of its arguments, can have this curvature."""
        return self._choose(atom.is_atom_convex(), atom.is_atom_concave())

    def _choose(self, convex: bool, concave: bool) -> bool:
        match self:
            case Curvature.CONVEX:
                return convex
            case Curvature.CONCAVE:
                return concave
            case Curvature.AFFINE:
                return convex and concave
            case Curvature.ANY:
                return convex or concave
            case Curvature.CONSTANT:
                return False


FLIPPED = {
    Curvature.CONVEX: Curvature.CONCAVE,
    Curvature.CONCAVE: Curvature.CONVEX,
    Curvature.AFFINE: Curvature.AFFINE,
    Curvature.CONSTANT: Curvature.CONSTANT,
    Curvature.ANY: Curvature.ANY,
}


@final
@dataclass(frozen=True, slots=True)
class Demand:
    """An expression and the curvature it must have."""

    expression: cp.Expression
    need: Curvature


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a problem makes demands: its objective, one constraint or the bounds of one variable."""

    item: cp.Minimize | cp.Maximize | cp.Constraint | cp.Variable
    name: str
    rule: str
    demands: tuple[Demand, ...]

    @property
    def is_objective(self) -> bool:
        """Whether the place is the objective."""
        return isinstance(self.item, cp.Minimize | cp.Maximize)


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """An expression that misses its curvature; `above` holds the expressions around it, outermost first."""

    expression: cp.Expression
    need: Curvature
    above: tuple[cp.Expression, ...]
    place: Place
    problem: cp.Problem

    def enter(self, demand: Demand) -> Fault:
        """The fault that an argument of `expression` would be."""
        return replace(self, expression=demand.expression, need=demand.need, above=(*self.above, self.expression))


def list_places(problem: cp.Problem) -> Iterator[Place]:
    """All places of a problem: objective, constraints in order, bounds of variables."""
    objective = problem.objective
    need = Curvature.CONVEX if isinstance(objective, cp.Minimize) else Curvature.CONCAVE
    rule = f"{objective.NAME} needs a {need.value} expression"
    yield Place(objective, f"the objective, {shorten(objective)}", rule, (Demand(objective.args[0], need),))
    for index, constraint in enumerate(problem.constraints):
        rule, demands = list_constraint_demands(constraint)
        yield Place(constraint, f"constraints[{index}], {shorten(constraint)}", rule, demands)
    for variable in problem.variables():
        bounds = [bound for bound in variable.bounds or () if isinstance(bound, cp.Expression)]
        name = f"the bounds of variable {variable.name()}"
        yield Place(
            variable, name, "bounds need affine expressions", tuple(Demand(bound, Curvature.AFFINE) for bound in bounds)
        )


def list_constraint_demands(constraint: cp.Constraint) -> tuple[str, tuple[Demand, ...]]:
    """The rule of a constraint in words, and what it demands of its arguments."""
    match constraint:
        case Inequality():
            rule = "an inequality needs a convex smaller and a concave greater side"
            needs = [Curvature.CONVEX, Curvature.CONCAVE]
        case NonPos():
            rule, needs = "NonPos needs a convex expression", [Curvature.CONVEX]
        case NonNeg():
            rule, needs = "NonNeg needs a concave expression", [Curvature.CONCAVE]
        case Equality() | Zero():
            rule, needs = "an equality needs affine sides", [Curvature.AFFINE] * len(constraint.args)
        case _:
            rule, needs = "a cone constraint needs affine arguments", [Curvature.AFFINE] * len(constraint.args)
    demands = [Demand(argument, need) for argument, need in zip(constraint.args, needs, strict=True)]
    if isinstance(constraint, PowCone3D | PowConeND):
        demands.append(Demand(constraint.alpha, Curvature.CONSTANT))
    return rule, tuple(demands)


@contextmanager
def count_parameters_as_variables(place: Place) -> Iterator[None]:
    """Judge curvature by the DPP rules of `place`: quadratic forms may have parametric matrices in an objective."""
    with ExitStack() as stack:
        stack.enter_context(scopes.dpp_scope())
        if place.is_objective:
            stack.enter_context(scopes.quad_form_dpp_scope())
        yield


# The search


def find_fault(problem: cp.Problem, place: Place) -> Fault | None:
    """The smallest expression at fault in `place`, in the active scope; None if all demands are met."""
    for demand in place.demands:
        if not demand.need.holds(demand.expression):
            return descend(Fault(demand.expression, demand.need, (), place, problem))
    return None


def descend(fault: Fault) -> Fault:
    """Follow an unmet demand down to the smallest expression at fault.

    An argument is entered if it has no curvature at all, or if it is a term of an affine expression that hands its
    demand down. A non-affine atom with arguments of the wrong curvature, and a factor of unknown sign, is itself the
    fault: there the two belong together.
    """
    for demand in list_demands(fault):
        if demand.need.holds(demand.expression):
            continue
        is_term = Curvature.AFFINE.suits(fault.expression) and demand.need in (fault.need, FLIPPED[fault.need])
        if is_term or not Curvature.ANY.holds(demand.expression):
            return descend(fault.enter(demand))
    return fault


def list_demands(fault: Fault) -> Iterator[Demand]:
    """What the composition rule demands of the arguments of an expression.

    If the atom itself cannot have the curvature, its arguments need only have one. The denominator of a quotient is
    then left out, since the quotient as a whole has to be rewritten.
    """
    expression, need = fault.expression, fault.need
    if not isinstance(expression, Atom):
        return
    for index, argument in enumerate(expression.args):
        if need.suits(expression):
            yield Demand(argument, demand_of(expression, index, need))
        elif not (index == 1 and isinstance(expression, DivExpression | quad_over_lin)):
            yield Demand(argument, Curvature.ANY)


def demand_of(atom: Atom, index: int, need: Curvature) -> Curvature:
    """The curvature that `atom` needs of its argument `index`, so that it has the curvature `need` itself."""
    if need is Curvature.ANY and not Curvature.AFFINE.suits(atom):
        need = Curvature.CONVEX if Curvature.CONVEX.suits(atom) else Curvature.CONCAVE
    if atom.is_incr(index):
        return need
    return FLIPPED[need] if atom.is_decr(index) else Curvature.AFFINE


def narrow_to_parameters(fault: Fault) -> Fault | None:
    """The smallest part of a fault without variables that is not affine in the parameters, as `exp(p)` in `exp(p) * x`.

    None if there is no such part. Denominators are left out: `x / exp(p)` has to be rewritten as a whole.
    """
    for index, argument in enumerate(fault.expression.args if isinstance(fault.expression, Atom) else ()):
        if index == 1 and isinstance(fault.expression, DivExpression | quad_over_lin):
            continue
        part = fault.enter(Demand(argument, Curvature.AFFINE))
        if argument.variables():
            found = narrow_to_parameters(part)
        else:
            found = None if Curvature.AFFINE.holds(argument) else descend(part)
        if found is not None:
            return found
    return None


def find_hidden_fault(problem: cp.Problem, place: Place) -> Fault | None:
    """A part of `place` that CVXPY counts as DPP but cannot compile for unknown parameter values.

    There are two kinds: in an objective, a quadratic form with a parametric matrix that cannot become the P of the
    program, since an atom with a conic form stands around it; and a Huber function whose threshold is not affine in
    the parameters, which CVXPY does not check.
    """
    pending = [Fault(demand.expression, demand.need, (), place, problem) for demand in place.demands]
    while pending:
        part = pending.pop()
        if has_matrix_parameter(part) and place.is_objective and is_buried(part):
            return part
        if isinstance(part.expression, huber) and not Curvature.AFFINE.holds(part.expression.M):
            return descend(part.enter(Demand(part.expression.M, Curvature.AFFINE)))
        arguments = part.expression.args if isinstance(part.expression, Atom) else ()
        pending += [part.enter(Demand(argument, Curvature.ANY)) for argument in arguments]
    return None


# Rewriting rules


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """What to say of a fault that `applies`; without a `reason` the curvatures are named."""

    applies: Callable[[Fault], bool]
    rewrite: str
    reason: str = ""
    error: type[ProblemError] = NotConvexError


def describe(headline: str, fault: Fault, rules: tuple[Rule, ...]) -> ProblemError:
    """The error for a fault, with the text of the first rule that applies."""
    rule = next(rule for rule in rules if rule.applies(fault))
    fields = {
        "parameters": ", ".join(parameter.name() for parameter in fault.expression.parameters()),
        "whole": shorten(widen_to_parameters(fault)),
        "denominator": shorten_denominator(fault.expression),
    }
    return rule.error(
        f"{headline}.\n"
        f"  expression: {shorten(fault.expression)}\n"
        f"  place: {fault.place.name}\n"
        f"  reason: {rule.reason.format(**fields) or explain_curvature(fault)}\n"
        f"  next step: {rule.rewrite.format(**fields)}"
    )


def explain_curvature(fault: Fault) -> str:
    """Why the composition rule rejects a fault, in words."""
    expression = fault.expression
    around = [part for part in fault.above if isinstance(part, Atom) and not Curvature.AFFINE.suits(part)]
    where = f"inside {type(around[-1]).__name__}" if around else f"since {fault.place.rule}"
    if Curvature.ANY.holds(expression):
        return f"it is {name_curvature(expression)}, but must be {fault.need.value} here, {where}"
    if not isinstance(expression, Atom) or not Curvature.ANY.suits(expression):
        return f"it is neither convex nor concave, but must be {fault.need.value} here, {where}"
    if isinstance(expression, AddExpression):
        return f"it adds convex and concave terms, but must be {fault.need.value} here, {where}"
    own = Curvature.CONVEX if Curvature.CONVEX.suits(expression) else Curvature.CONCAVE
    demands = (Demand(argument, demand_of(expression, index, own)) for index, argument in enumerate(expression.args))
    unmet = next(demand for demand in demands if not demand.need.holds(demand.expression))
    return (
        f"{type(expression).__name__} is {own.value} and needs its argument {unmet.need.value} here, "
        f"but {shorten(unmet.expression)} is {name_curvature(unmet.expression)}"
    )


def name_curvature(expression: cp.Expression) -> str:
    """The curvature of an expression in words, in the active scope."""
    order = (Curvature.AFFINE, Curvature.CONVEX, Curvature.CONCAVE)
    return next((kind.value for kind in order if kind.holds(expression)), "neither convex nor concave")


def shorten(item: Any) -> str:
    """The text of an expression, objective or constraint on one line, cut if long."""
    text = " ".join(str(item).split())
    return text if len(text) <= MOST_CHARACTERS_SHOWN else text[: MOST_CHARACTERS_SHOWN - 3] + "..."


def shorten_denominator(expression: cp.Expression) -> str:
    """The text of the denominator of a quotient, in brackets if need be; empty if there is none."""
    if not isinstance(expression, DivExpression | quad_over_lin):
        return ""
    denominator = strip_broadcast(expression.args[1])
    return f"({shorten(denominator)})" if denominator.args else shorten(denominator)


def strip_broadcast(expression: cp.Expression) -> cp.Expression:
    """The scalar or array below the broadcasts that CVXPY puts around it."""
    return strip_broadcast(expression.args[0]) if isinstance(expression, Promote | broadcast_to) else expression


def widen_to_parameters(fault: Fault) -> cp.Expression:
    """The largest non-affine expression without variables around a fault, as `p * q / r` around `p * q`."""
    around = (
        part
        for part in (*fault.above, fault.expression)
        if isinstance(part, Atom) and not part.variables() and not Curvature.AFFINE.suits(part)
    )
    return next(around, fault.expression)


def is_product(fault: Fault) -> bool:
    """Whether the fault is a product, elementwise or of matrices."""
    return isinstance(fault.expression, MulExpression)


def has_factor_of_unknown_sign(fault: Fault) -> bool:
    """Whether the fault multiplies a non-affine expression by data of unknown sign."""
    return isinstance(fault.expression, MulExpression | DivExpression) and Curvature.AFFINE.suits(fault.expression)


def multiplies_itself(fault: Fault) -> bool:
    """Whether the fault is a product whose factors share a variable."""
    if not is_product(fault):
        return False
    left, right = ({variable.id for variable in factor.variables()} for factor in fault.expression.args)
    return bool(left & right)


def multiplies_own_logarithm(fault: Fault) -> bool:
    """Whether the fault is like v * log(v)."""
    return multiplies_itself(fault) and any(isinstance(strip_broadcast(a), log) for a in fault.expression.args)


def divides_by_variable(fault: Fault) -> bool:
    """Whether the fault is a quotient with a variable below."""
    return isinstance(fault.expression, DivExpression) and bool(fault.expression.args[1].variables())


def divides_by_parameter(fault: Fault) -> bool:
    """Whether the fault is a quotient with variables above and parameters below."""
    expression = fault.expression
    is_quotient = isinstance(expression, DivExpression | quad_over_lin)
    return is_quotient and bool(expression.variables() and expression.args[1].parameters())


def has_exponent(fault: Fault, lower: float, upper: float) -> bool:
    """Whether the fault is a power with a numerical exponent strictly between the limits."""
    expression = fault.expression
    return isinstance(expression, Power) and expression.p_used is not None and lower < expression.p_used < upper


def is_root_of_quadratic(fault: Fault) -> bool:
    """Whether the fault is like sqrt(sum_squares(v))."""
    return (
        has_exponent(fault, 0, 1)
        and bool(fault.expression.args[0].is_quadratic())
        and not Curvature.ANY.holds(fault.expression)
    )


def is_log_of(fault: Fault, inner: Callable[[cp.Expression], bool]) -> bool:
    """Whether the fault is a logarithm whose argument is as `inner` says."""
    return isinstance(fault.expression, log) and inner(fault.expression.args[0])


def is_softplus_argument(expression: cp.Expression) -> bool:
    """Whether the expression is like 1 + exp(v)."""
    terms = expression.args if isinstance(expression, AddExpression) else ()
    return any(isinstance(term, exp) for term in terms) and any(term.is_constant() for term in terms)


def has_unexpected(fault: Fault, curvature: Curvature, kinds: tuple[type, ...]) -> bool:
    """Whether the fault has `curvature`, which its place, one of `kinds`, does not allow."""
    return isinstance(fault.place.item, kinds) and curvature.holds(fault.expression)


def is_never_convex(fault: Fault) -> bool:
    """Whether the fault is a smooth or quasiconvex atom that DCP knows nothing of, such as sin or ceil."""
    atom = fault.expression
    if not isinstance(atom, Atom) or Curvature.ANY.suits(atom):
        return False
    return bool(atom.is_atom_smooth() or atom.is_atom_quasiconvex() or atom.is_atom_quasiconcave())


def is_buried(fault: Fault) -> bool:
    """Whether an atom that CVXPY turns into cones stands around the fault."""
    return any(not isinstance(part, Atom) or type(part) in CANON_METHODS for part in fault.above)


def has_matrix_parameter(fault: Fault) -> bool:
    """Whether the fault is a quadratic form with parameters in its matrix."""
    return isinstance(fault.expression, QuadForm) and bool(fault.expression.args[1].parameters())


def is_matrix_of_quad_form(fault: Fault) -> bool:
    """Whether the fault is the matrix of a quadratic form, apart from wraps."""
    shapes = [part.args[1].shape for part in fault.above if isinstance(part, QuadForm)]
    return not fault.expression.variables() and fault.expression.shape in shapes


def has_bounds_with_parameters(fault: Fault) -> bool:
    """Whether all parameters beside the variables of a product or quadratic form are in their bounds.

    CVXPY counts the parameters in the bounds of x among the parameters of x, so that `p * x` looks like a product of
    two parameters.
    """
    if not isinstance(fault.expression, MulExpression | QuadForm):
        return False
    for factor in fault.expression.args:
        in_bounds = {parameter.id for variable in factor.variables() for parameter in variable.parameters()}
        if in_bounds and in_bounds == {parameter.id for parameter in factor.parameters()}:
            return True
    return False


RELAXATIONS = {
    "boolean": "relax it, cp.Variable(..., bounds=[0, 1]), and round the result if need be",
    "integer": "relax it, leave integer out and keep its range by bounds=[low, high], and round the result if need be",
}

OF_NEW_PARAMETER = "compute its value before the layer (with torch or jax, which differentiate it) and pass that"
OF_SIGNED_PARAMETER = OF_NEW_PARAMETER + "; declare its sign, nonneg=True or nonpos=True, if it has one"

CONVEXITY_RULES = (
    Rule(
        lambda fault: bool(fault.problem.is_dgp()),
        "the problem is a geometric program (convex in the logarithms of its positive variables): pass gp=True",
    ),
    Rule(
        lambda fault: has_factor_of_unknown_sign(fault) and bool(fault.expression.parameters()),
        "declare the sign of the factor, cp.Parameter(..., nonneg=True) or nonpos=True; a factor built from several "
        "parameters becomes one new parameter with a declared sign",
        "the sign of {parameters} decides whether it is convex or concave, and is not known",
    ),
    Rule(
        has_factor_of_unknown_sign,
        "write one term for the positive part of the constant and one for the negative part",
        "the constant factor has both signs, which makes convex parts concave",
    ),
    Rule(
        multiplies_own_logarithm,
        "use -cp.entr(v) for v * log(v), cp.rel_entr(v, w) for v * log(v / w)",
        "a product of two expressions with variables is neither convex nor concave by the rules",
    ),
    Rule(
        multiplies_itself,
        "use cp.square(v) for v * v, cp.sum_squares(v) for v @ v, cp.quad_form(v, P) for v @ P @ v",
        "a product of two expressions with variables is neither convex nor concave by the rules",
    ),
    Rule(
        is_product,
        "make one factor data (a number or a cp.Parameter), or replace the product by a new variable with convex "
        "bounds on it",
        "a product of two variables is neither convex nor concave",
    ),
    Rule(
        lambda fault: divides_by_variable(fault) and not fault.expression.args[0].variables(),
        "use cp.inv_pos(v) for 1 / v, which takes v > 0",
        "a quotient with a variable below is neither convex nor concave by the rules",
    ),
    Rule(
        lambda fault: divides_by_variable(fault) and not fault.expression.args[0].is_affine(),
        "use cp.quad_over_lin(u, v) for sum_squares(u) / v, which takes v > 0, or multiply the constraint by a "
        "denominator that is positive",
        "a quotient with a variable below is neither convex nor concave by the rules",
    ),
    Rule(
        divides_by_variable,
        "multiply the constraint by the denominator, if that is positive, or make the denominator data",
        "a quotient of two variables is neither convex nor concave",
    ),
    Rule(
        lambda fault: has_matrix_parameter(fault) and not Curvature.ANY.suits(fault.expression),
        "declare it, cp.Parameter((n, n), PSD=True); an expression that is positive semidefinite for all values of "
        "its parameters goes into cp.psd_wrap(...)",
        "its matrix, with parameters {parameters}, is not known to be positive semidefinite",
    ),
    Rule(
        lambda fault: isinstance(fault.expression, QuadForm) and not Curvature.ANY.suits(fault.expression),
        "if only rounding makes it indefinite, use cp.psd_wrap(P); otherwise keep its positive semidefinite part",
        "its matrix has eigenvalues of both signs",
    ),
    Rule(
        lambda fault: isinstance(fault.expression, Power) and fault.expression.p_used is None,
        "make the exponent a number, and build one problem for each exponent",
        "the exponent {parameters} decides whether it is convex or concave, and its value is not known",
    ),
    Rule(
        is_root_of_quadratic,
        "use cp.norm(v, 2) for sqrt(sum_squares(v)), cp.norm(L @ v, 2) for sqrt(quad_form(v, L.T @ L)); a constant "
        "goes into the vector, cp.norm(cp.hstack([v, c]), 2)",
    ),
    Rule(
        lambda fault: has_exponent(fault, 1, float("inf")) and not Curvature.ANY.holds(fault.expression),
        "a power grows with its argument only where that is positive: use cp.pos(v) ** p if negative values of v "
        "count as zero",
    ),
    Rule(
        lambda fault: is_log_of(fault, lambda inner: isinstance(inner, exp)),
        "log(exp(v)) is v",
    ),
    Rule(
        lambda fault: is_log_of(fault, is_softplus_argument),
        "use cp.logistic(v) for log(1 + exp(v))",
    ),
    Rule(
        lambda fault: is_log_of(fault, lambda inner: exp in inner.atoms()),
        "use cp.log_sum_exp(v) for log(sum(exp(v)))",
    ),
    Rule(
        lambda fault: isinstance(fault.expression, exp) and log in fault.expression.args[0].atoms(),
        "exp(log(v)) is v; a constraint on exp of a sum of logarithms becomes one on the sum",
    ),
    Rule(
        lambda fault: isinstance(fault.expression, Prod),
        "maximize cp.geo_mean(v) or cp.sum(cp.log(v)) instead",
        "a product of variables is neither convex nor concave",
    ),
    Rule(
        is_never_convex,
        "replace it by a convex or concave approximation; for a general smooth problem use the implicit layers (root, "
        "fixed_point, argmin)",
        "it has no place in convex problems, only in quasiconvex (DQCP) or nonlinear (DNLP) ones",
        UnsupportedError,
    ),
    Rule(
        lambda fault: has_unexpected(fault, Curvature.CONVEX, (Inequality, NonNeg)),
        "the points where a convex function is large do not form a convex set: bound an affine expression from below "
        "instead, or linearise the function at a point that is passed as a parameter",
    ),
    Rule(
        lambda fault: has_unexpected(fault, Curvature.CONCAVE, (Inequality, NonPos)),
        "apply the inverse function to both sides, as v <= c ** 2 for sqrt(v) <= c, or linearise the function at a "
        "point that is passed as a parameter",
    ),
    Rule(
        lambda fault: has_unexpected(fault, Curvature.ANY, (Equality, Zero)),
        "relax the equality to an inequality (<= for a convex, >= for a concave left side) if the optimum makes it "
        "tight, or rewrite it with affine sides",
    ),
    Rule(
        lambda fault: has_unexpected(fault, Curvature.ANY, (cp.Minimize, cp.Maximize)),
        "check the sign, and minimize against maximize; otherwise linearise this term at a point that is passed as a "
        "parameter",
    ),
    Rule(
        lambda fault: True,
        "build it from CVXPY's convex and concave functions by the composition rule, "
        "https://www.cvxpy.org/tutorial/dcp/",
    ),
)

PARAMETER_RULES = (
    Rule(
        lambda fault: fault.need is Curvature.CONSTANT,
        "make the exponent a number, and build one problem for each exponent",
        "the exponent of a power cone belongs to the structure of the program, not to its data",
        NotDPPError,
    ),
    Rule(
        is_matrix_of_quad_form,
        "make {whole} one new parameter, cp.Parameter((n, n), PSD=True): " + OF_NEW_PARAMETER,
        "the matrix of a quadratic form must be affine in the parameters, and this is not",
        NotDPPError,
    ),
    Rule(
        lambda fault: not fault.expression.variables() and is_product(fault),
        "make the product {whole} one new parameter: " + OF_SIGNED_PARAMETER,
        "it multiplies parameters ({parameters}) with each other",
        NotDPPError,
    ),
    Rule(
        lambda fault: not fault.expression.variables(),
        "make {whole} one new parameter: " + OF_SIGNED_PARAMETER,
        "it is not affine in the parameters ({parameters}), as it must be here",
        NotDPPError,
    ),
    Rule(
        divides_by_parameter,
        "introduce a new parameter for 1 / {denominator}, say inv_p, and multiply by it: " + OF_SIGNED_PARAMETER,
        "it divides by {denominator}: parameters may multiply variables, not divide them",
        NotDPPError,
    ),
    Rule(
        has_bounds_with_parameters,
        "state these bounds as constraints (low <= x, x <= high) instead of bounds=[low, high]",
        "a variable in it has parameters in its bounds, which count as parameters of the variable",
        NotDPPError,
    ),
    Rule(
        lambda fault: has_matrix_parameter(fault) and (not fault.place.is_objective or is_buried(fault)),
        "use cp.sum_squares(L @ x) with a new parameter L, where P = L.T @ L: factor P before the layer (with torch or "
        "jax, which differentiate it) and pass L",
        "the matrix of a quadratic form may have parameters in the objective only, in sums and multiples by numbers",
        NotDPPError,
    ),
    Rule(
        lambda fault: isinstance(fault.expression, QuadForm),
        "introduce a variable z with the constraint z == v, where v is the vector of the form, and use "
        "cp.quad_form(z, P)",
        "its vector has parameters, which CVXPY does not admit in a quadratic form of the objective",
        NotDPPError,
    ),
    Rule(
        lambda fault: isinstance(fault.expression, conv | convolve | kron),
        "write it as T @ x with the matrix T of this linear map as a new parameter: " + OF_NEW_PARAMETER,
        "CVXPY does not admit parameters ({parameters}) in a convolution or Kronecker product",
        NotDPPError,
    ),
    Rule(
        is_product,
        "make each product of parameters one new parameter, (p * q) * x for p * (q * x), A @ x - b with b = A @ p for "
        "A @ (x - p): " + OF_SIGNED_PARAMETER,
        "both factors have parameters ({parameters}), which are multiplied with each other",
        NotDPPError,
    ),
    Rule(
        lambda fault: True,
        "make the part that has parameters and is not affine in them one new parameter: " + OF_NEW_PARAMETER,
        error=NotDPPError,
    ),
)
