"""Which method solves the linear systems of derivatives where the user names none."""

from __future__ import annotations

from typing import Any

from optlayers.errors import OptionError
from optlayers.implicit.linear.abstract import AbstractLinearSolver
from optlayers.implicit.linear.conjugate_gradients import ConjugateGradients
from optlayers.implicit.linear.gmres import GMRES
from optlayers.implicit.linear.lu import FORMED_BY_DEFAULT, LU
from optlayers.implicit.shown import shown
from optlayers.implicit.solvers.abstract import AbstractIteration
from optlayers.implicit.solvers.iterated import Iterated


def linear_solver_of(choice: Any, symmetric: bool, size: int) -> AbstractLinearSolver:
    """The user's choice, or the default for systems of `size` unknowns; an iteration is applied to the linear equation.

    The default is LU up to FORMED_BY_DEFAULT: it tells the condition, and nothing has to converge. Above, it is
    conjugate gradients for the symmetric systems of argmin, which are positive definite at minima; at a saddle, which
    is no solution of a minimisation, they may break down, which is reported, and GMRES has to be asked for. For others
    it is GMRES.
    """
    if choice is None:
        if size <= FORMED_BY_DEFAULT:
            return LU()
        return ConjugateGradients() if symmetric else GMRES()
    if isinstance(choice, AbstractIteration):
        if choice.minimizes:
            raise OptionError(
                f"backward={choice.name} minimises, and a linear system has no objective; take ConjugateGradients() "
                "for argmin, or an iteration on residuals, such as Anderson()."
            )
        return Iterated.of(choice)
    if isinstance(choice, AbstractLinearSolver):
        if choice.symmetric_only and not symmetric:
            raise OptionError(f"backward={choice.name} solves symmetric systems only, those of argmin.")
        return choice
    raise OptionError(
        f"backward={shown(choice)} is no solver of linear systems: an object such as LU() or GMRES(), or an "
        "iteration, such as FixedPointIteration(), is expected."
    )
