"""The plainest name of a cone, which a solver may know where it does not know another."""

from __future__ import annotations

from optlayers.cones import AbstractCone, Dual, Nonnegative, Power, SecondOrder, Semidefinite


def plain(cone: AbstractCone) -> AbstractCone:
    """The same cone with the same rows: K for K**, a self-dual cone for its dual, |w| <= u for one exponent."""
    match cone:
        case Power(exponents=(_,)):
            return SecondOrder(2)
        case Dual():
            inner = plain(cone.cone)
            match inner:
                case Nonnegative() | SecondOrder() | Semidefinite():
                    return inner
                case Dual():
                    return inner.cone
            return Dual(inner)
    return cone
