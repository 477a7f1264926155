"""The choice of a solver of linear systems, and its settings."""

from __future__ import annotations

from typing import Any

import pytest

from optlayers.errors import OptionError
from optlayers.implicit import GMRES, LBFGS, LU, ConjugateGradients, FixedPointIteration, Iterated, Neumann
from optlayers.implicit.linear.lu import FORMED_BY_DEFAULT
from optlayers.implicit.solvers import linear_solver_of


def test_choice() -> None:
    assert isinstance(linear_solver_of(None, False, FORMED_BY_DEFAULT), LU)
    assert isinstance(linear_solver_of(None, False, FORMED_BY_DEFAULT + 1), GMRES)
    assert isinstance(linear_solver_of(None, True, FORMED_BY_DEFAULT + 1), ConjugateGradients)
    wrapped = linear_solver_of(FixedPointIteration(tolerance=1e-5, max_iterations=7), False, 3)
    assert isinstance(wrapped, Iterated)
    assert (wrapped.tolerance, wrapped.max_iterations) == (1e-5, 7)
    with pytest.raises(OptionError, match="is no solver of linear systems"):
        linear_solver_of("lu", False, 3)
    with pytest.raises(OptionError, match="symmetric"):
        linear_solver_of(ConjugateGradients(), False, 3)
    with pytest.raises(OptionError, match="backward=L-BFGS minimises"):
        linear_solver_of(LBFGS(), True, 3)


@pytest.mark.parametrize("settings", [{"restart": 0}, {"restart": True}, {"tolerance": 0.0}, {"max_iterations": 0}])
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"GMRES\\({next(iter(settings))}="):
        GMRES(**settings)
    with pytest.raises(OptionError, match="terms="):
        Neumann(terms=0)
