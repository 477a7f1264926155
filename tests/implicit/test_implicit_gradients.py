"""Derivatives of each kind of layer, with each solver of it and each backward method, against central differences.

A derivative depends on the solver by nothing but the z that it has found. So each solver runs once, and each backward
method is differentiated with, from z as z0, where no iteration is left; this covers each pair at the cost of their sum.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, final

import numpy as np
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

pytestmark = pytest.mark.usefixtures("without_checks")

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
BACKWARD_OF: dict[str, list[Any]] = {
    "root": BACKWARD,
    "fixed_point": BACKWARD,
    "argmin": [*BACKWARD, ConjugateGradients()],
}


@final
class Found(NamedTuple):
    """The solution, a tree, and the loss's derivative along the direction, in both modes."""

    z: Any
    gradient: Any
    tangent: Any


def moved(backend: Backend, t: Any) -> dict[str, Any]:
    """theta, moved along the direction."""
    along = direction(backend)
    return {name: value + t * along[name] for name, value in theta(backend).items()}


def solve(backend: Backend, kind: str, z0: Any, t: Any, **settings: Any) -> Any:
    return backend.functions[kind](equation(backend, kind), z0, moved(backend, t), batch_axes=1, **settings)


@cache
def slope(kind: str) -> float:
    """The loss's derivative along the direction, by central differences of solutions to rounding."""
    exact = {"solver": Newton(tolerance=1e-14, max_iterations=30)}
    ahead, behind = (float(loss(TORCH, solve(TORCH, kind, start(TORCH), t, **exact))) for t in (STEP, -STEP))
    return (ahead - behind) / (2 * STEP)


def derivative(backend: Backend, kind: str, **settings: Any) -> Any:
    """z0 -> `Found`, all in one call."""

    def found(z0: Any) -> Found:
        def value(t: Any) -> tuple[Any, Any]:
            z = solve(backend, kind, z0, t, **settings)
            return loss(backend, z), z

        zero, one = backend.array(np.zeros(())), backend.array(np.ones(()))
        gradient, z = backend.grad(value, has_aux=True)(zero)
        return Found(z, gradient, backend.jvp(lambda t: value(t)[0], zero, one))

    return backend.jit(found)


def require_slope(kind: str, found: Found) -> None:
    assert float(found.gradient) == pytest.approx(slope(kind), rel=TOLERANCE)
    assert float(found.tangent) == pytest.approx(slope(kind), rel=TOLERANCE)


@cache
def with_a_method(backend: Backend, kind: str, place: int) -> Found:
    """By the solver at this place, and one of the backward methods."""
    methods = BACKWARD_OF[kind]
    settings = {"solver": SOLVERS[kind][place], "backward": methods[place % len(methods)]}
    return derivative(backend, kind, **settings)(start(backend))


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
@pytest.mark.parametrize(
    ("kind", "place"),
    [(kind, place) for kind, solvers in SOLVERS.items() for place in range(len(solvers))],
    ids=[f"{kind}-{solver.name}" for kind, solvers in SOLVERS.items() for solver in solvers],
)
def test_derivatives_match_central_differences(backend: Backend, kind: str, place: int) -> None:
    require_slope(kind, with_a_method(backend, kind, place))


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
@pytest.mark.parametrize(
    ("kind", "backward"),
    [(kind, backward) for kind, methods in BACKWARD_OF.items() for backward in methods],
    ids=[f"{kind}-{backward.name}" for kind, methods in BACKWARD_OF.items() for backward in methods],
)
def test_each_backward_method_at_what_each_solver_found(backend: Backend, kind: str, backward: Any) -> None:
    differentiated = derivative(backend, kind, solver=lambda F, z: z, backward=backward)
    for place in range(len(SOLVERS[kind])):
        require_slope(kind, differentiated(with_a_method(backend, kind, place).z))


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
@pytest.mark.parametrize("last", [1, 4, 20])
def test_as_many_iterations_are_differentiated_as_was_asked_for(backend: Backend, last: int) -> None:
    """z = z - (z^2 - t) / 4: each iteration adds 1/4 to what it passes on, 1 - z / 2 times what it was given."""

    def z(t: Any) -> Any:
        return backend.functions["fixed_point"](
            lambda z, t: z - (z**2 - t) / 4, backend.array(np.ones(())), t,
            solver=FixedPointIteration(tolerance=1e-14), differentiate="unrolled", last=last,
        )  # fmt: skip

    t = 0.6
    expected = 0.5 / t**0.5 * (1 - (1 - t**0.5 / 2) ** last)
    assert float(backend.jit(backend.grad(z))(backend.array(np.array(t)))) == pytest.approx(expected, rel=1e-9)
