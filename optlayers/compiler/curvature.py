"""Which curvature each part of a problem must have, and the smallest part that misses it.

Every place of a problem demands a curvature of an expression ("minimize needs a convex expression"), and the
composition rule hands the demand down: f(g_1, ..., g_k) is convex if f is convex and each g_i is affine, or convex
where f increases, or concave where f decreases. The search follows unmet demands downwards and stops at an expression
that fails although each of its arguments has a curvature.

All of it holds in CVXPY's active scope: in `dpp_scope` parameters count as variables.

Source: Grant, Boyd, Ye (2006), "Disciplined convex programming".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, final

import cvxpy as cp
from cvxpy.atoms.affine.binary_operators import DivExpression
from cvxpy.atoms.atom import Atom
from cvxpy.constraints import Equality, Inequality
from cvxpy.reductions.dcp2cone.canonicalizers import CANON_METHODS

MOST_CHARACTERS_SHOWN = 120


@final
class Curvature(Enum):
    """What may be demanded of an expression; `value` is the text that messages print."""

    AFFINE = "affine"
    CONVEX = "convex"
    CONCAVE = "concave"
    ANY = "convex or concave"

    def holds(self, expression: cp.Expression) -> bool:
        """Whether `expression` has this curvature by the composition rule."""
        return self._allows(bool(expression.is_convex()), bool(expression.is_concave()))

    def suits(self, atom: Atom) -> bool:
        """Whether `atom`, as a function of its arguments, can have this curvature."""
        return self._allows(bool(atom.is_atom_convex()), bool(atom.is_atom_concave()))

    def _allows(self, convex: bool, concave: bool) -> bool:
        if self is Curvature.AFFINE:
            return convex and concave
        if self is Curvature.ANY:
            return convex or concave
        return convex if self is Curvature.CONVEX else concave

    @property
    def flipped(self) -> Curvature:
        """The curvature of -f, if f has this one."""
        return {Curvature.CONVEX: Curvature.CONCAVE, Curvature.CONCAVE: Curvature.CONVEX}.get(self, self)


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a problem makes demands: its objective, one constraint or the bounds of one variable."""

    item: cp.Minimize | cp.Maximize | cp.Constraint | cp.Variable
    name: str
    rule: str

    @property
    def is_objective(self) -> bool:
        """Whether the place is the objective."""
        return isinstance(self.item, cp.Minimize | cp.Maximize)


@final
@dataclass(frozen=True, slots=True)
class Part:
    """An expression and the curvature it needs; `above` holds the expressions around it, outermost first."""

    expression: cp.Expression
    need: Curvature
    place: Place
    above: tuple[cp.Expression, ...] = ()

    @property
    def is_met(self) -> bool:
        """Whether the expression has the curvature it needs."""
        return self.need.holds(self.expression)

    @property
    def is_buried(self) -> bool:
        """Whether an atom that CVXPY turns into cones stands around the expression."""
        return any(type(atom) in CANON_METHODS for atom in self.above)

    def enter(self, expression: cp.Expression, need: Curvature) -> Part:
        """The part that an expression inside this one is."""
        return Part(expression, need, self.place, (*self.above, self.expression))

    def walk(self) -> Iterator[Part]:
        """This part and all parts inside it, each before its own; no curvature in particular is demanded of them."""
        pending = [self]
        while pending:
            part = pending.pop()
            yield part
            arguments = part.expression.args if isinstance(part.expression, Atom) else []
            pending += [part.enter(argument, Curvature.ANY) for argument in reversed(arguments)]


def list_demands(problem: cp.Problem) -> Iterator[Part]:
    """What a problem demands: of its objective, of its constraints in order, of the bounds of its variables."""
    objective = problem.objective
    need = Curvature.CONVEX if isinstance(objective, cp.Minimize) else Curvature.CONCAVE
    rule = f"{objective.NAME} needs a {need.value} expression"
    yield Part(objective.args[0], need, Place(objective, f"the objective, {shorten(objective)}", rule))
    for index, constraint in enumerate(problem.constraints):
        rule, needs = read_constraint(constraint)
        place = Place(constraint, f"constraints[{index}], {shorten(constraint)}", rule)
        for argument, need in zip(constraint.args, needs, strict=True):
            yield Part(argument, need, place)
    for variable in problem.variables():
        place = Place(variable, f"the bounds of variable {variable.name()}", "bounds need affine expressions")
        for bound in variable.bounds or ():
            if isinstance(bound, cp.Expression):
                yield Part(bound, Curvature.AFFINE, place)


def read_constraint(constraint: cp.Constraint) -> tuple[str, list[Curvature]]:
    """The rule of a constraint in words, and the curvatures that its arguments need."""
    match constraint:
        case Inequality():
            return "an inequality needs a convex smaller, a concave greater side", [Curvature.CONVEX, Curvature.CONCAVE]
        case cp.NonPos():
            return "NonPos needs a convex expression", [Curvature.CONVEX]
        case cp.NonNeg():
            return "NonNeg needs a concave expression", [Curvature.CONCAVE]
        case Equality() | cp.Zero():
            return "an equality needs affine sides", [Curvature.AFFINE] * len(constraint.args)
        case _:
            return "a cone constraint needs affine arguments", [Curvature.AFFINE] * len(constraint.args)


def list_arguments(part: Part) -> Iterator[Part]:
    """The arguments of an expression, with the curvatures that the composition rule demands of them.

    If the atom itself cannot have the curvature, its arguments need only have one. The denominator of a quotient is
    then left out, since the quotient as a whole has to be rewritten.
    """
    atom, need = part.expression, part.need
    if not isinstance(atom, Atom):
        return
    if need is Curvature.ANY and not Curvature.AFFINE.suits(atom):
        need = next((own for own in (Curvature.CONVEX, Curvature.CONCAVE) if own.suits(atom)), need)
    for index, argument in enumerate(atom.args):
        if not need.suits(atom):
            if index == 0 or not isinstance(atom, DivExpression | cp.quad_over_lin):
                yield part.enter(argument, Curvature.ANY)
        elif atom.is_incr(index):
            yield part.enter(argument, need)
        else:
            yield part.enter(argument, need.flipped if atom.is_decr(index) else Curvature.AFFINE)


def smallest_fault(part: Part) -> Part:
    """The smallest expression at fault in a part that misses its curvature.

    An argument is entered if it has no curvature at all, or if it is a term of an affine expression that hands its
    demand down. A non-affine atom with arguments of the wrong curvature, and a factor of unknown sign, is itself the
    fault: there the two belong together.
    """
    for argument in list_arguments(part):
        is_term = Curvature.AFFINE.suits(part.expression) and argument.need in (part.need, part.need.flipped)
        if not argument.is_met and (is_term or not Curvature.ANY.holds(argument.expression)):
            return smallest_fault(argument)
    return part


def smallest_parametric_fault(part: Part) -> Part:
    """The same in `dpp_scope`, narrowed to what has no variables: `exp(p)` in `exp(p) * x`, if there is such a part.

    `x / exp(p)` has to be rewritten as a whole.
    """
    fault, affine = smallest_fault(part), Curvature.AFFINE
    if not divides_by_parameter(fault):
        for inner in fault.walk():
            atom = inner.expression
            if not (atom.variables() or affine.holds(atom)) and all(affine.holds(argument) for argument in atom.args):
                return inner
    return fault


def divides_by_parameter(part: Part) -> bool:
    """Whether the part is a quotient with variables above and parameters below."""
    quotient = part.expression
    if not isinstance(quotient, DivExpression | cp.quad_over_lin):
        return False
    return bool(quotient.variables() and quotient.args[1].parameters())


def shorten(item: Any) -> str:
    """The text of an expression, objective or constraint on one line, cut if long."""
    text = " ".join(str(item).split())
    return text if len(text) <= MOST_CHARACTERS_SHOWN else text[: MOST_CHARACTERS_SHOWN - 3] + "..."
