"""Gradients of each kind of layer, with each solver of it and each backward method, against central differences."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from implicit.equations import BACKENDS, TORCH, Backend, direction, equation, loss, start, theta

from optlayers.implicit import (
    GMRES,
    LBFGS,
    LSMR,
    LU,
    Anderson,
    BiCGStab,
    Broyden,
    ConjugateGradients,
    FixedPointIteration,
    GradientDescent,
    Neumann,
    Newton,
    NormalConjugateGradients,
)

STEP = 1e-5
TOLERANCE = 1e-6

SOLVERS: dict[str, list[Any]] = {
    "root": [Newton(), Newton(linear=GMRES()), Broyden(), Anderson(), FixedPointIteration()],
    "fixed_point": [Newton(), Broyden(), Anderson(), FixedPointIteration(damping=0.9)],
    "argmin": [Newton(linear=ConjugateGradients()), GradientDescent(), LBFGS(), Broyden(), Anderson(damping=0.5)],
}
BACKWARD: list[Any] = [
    LU(),
    GMRES(),
    BiCGStab(),
    NormalConjugateGradients(),
    LSMR(),
    Neumann(terms=400),
    FixedPointIteration(),
    Anderson(),
]
SYMMETRIC: list[Any] = [*BACKWARD, ConjugateGradients()]


def moved(backend: Backend, t: Any) -> dict[str, Any]:
    """theta, moved along the direction."""
    along = direction(backend)
    return {name: value + t * along[name] for name, value in theta(backend).items()}


def solve(backend: Backend, kind: str, theta: Any, **settings: Any) -> Any:
    return backend.functions[kind](equation(backend, kind), start(backend), theta, batch_axes=1, **settings)


@cache
def slope(kind: str) -> float:
    """The loss's derivative along the direction, by central differences of solutions to rounding."""
    exact = {"solver": Newton(tolerance=1e-14, max_iterations=30)}
    ahead, behind = (float(loss(TORCH, solve(TORCH, kind, moved(TORCH, t), **exact))) for t in (STEP, -STEP))
    return (ahead - behind) / (2 * STEP)


GRID = [
    (kind, solver, backward)
    for kind, solvers in SOLVERS.items()
    for solver in solvers
    for backward in (SYMMETRIC if kind == "argmin" else BACKWARD)
]


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
@pytest.mark.parametrize(
    ("kind", "solver", "backward"),
    GRID,
    ids=[f"{kind}-{solver.name}-{backward.name}" for kind, solver, backward in GRID],
)
def test_gradients_match_central_differences(backend: Backend, kind: str, solver: Any, backward: Any) -> None:
    def f(t: Any) -> Any:
        return loss(backend, solve(backend, kind, moved(backend, t), solver=solver, backward=backward))

    gradient = backend.jit(backend.grad(f))(backend.array(0.0))
    assert float(gradient) == pytest.approx(slope(kind), rel=TOLERANCE)
