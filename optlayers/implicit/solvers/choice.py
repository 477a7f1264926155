"""Which iteration solves an equation where the user names none."""

from __future__ import annotations

from typing import Any

from optlayers.errors import OptionError
from optlayers.implicit.linear.abstract import AbstractLinearSolver
from optlayers.implicit.linear.gmres import GMRES
from optlayers.implicit.linear.lu import FORMED_BY_DEFAULT
from optlayers.implicit.shown import shown
from optlayers.implicit.solvers.abstract import AbstractIteration
from optlayers.implicit.solvers.anderson import Anderson
from optlayers.implicit.solvers.custom import Custom
from optlayers.implicit.solvers.lbfgs import LBFGS
from optlayers.implicit.solvers.newton import Newton


def solver_of(choice: Any, kind: str, size: int) -> AbstractIteration:
    """The user's choice, or the default for equations of a kind with `size` unknowns an element.

    root: Newton, which finds most roots in few steps, with LU up to FORMED_BY_DEFAULT unknowns, and beyond, where J_z
    costs too much to form, with GMRES. fixed_point: Anderson, as g is usually nearly a contraction. argmin: L-BFGS,
    which does not stop at saddle points or maxima, as Newton may.
    """
    if choice is None:
        if kind == "root":
            return Newton() if size <= FORMED_BY_DEFAULT else Newton(linear=GMRES())
        return Anderson() if kind == "fixed_point" else LBFGS()
    if isinstance(choice, AbstractIteration):
        if choice.minimizes and kind != "argmin":
            raise OptionError(
                f"{type(choice).__name__} minimises; it solves argmin only, not {kind}. Take another solver, such as "
                "Newton(), Broyden() or Anderson()."
            )
        return choice
    if callable(choice) and not isinstance(choice, type):
        return Custom(function=choice)
    if isinstance(choice, AbstractLinearSolver):
        raise OptionError(
            f"solver={shown(choice)} solves linear systems; give it as backward= for derivatives, or take "
            f"Newton(linear={shown(choice)})."
        )
    raise OptionError(
        f"solver={shown(choice)} is no solver; give one of {_NAMES} as an object, such as Newton(tolerance=1e-8), or a "
        "function (F, z0) -> z."
    )


_NAMES = "Newton, Broyden, Anderson, FixedPointIteration, Bisection, LBFGS, GradientDescent"
"""As messages list them."""
