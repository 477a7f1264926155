"""A fixed point and a minimum with elements of very different difficulty, the solvers of each, and their oracles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
from implicit.front_ends import FrontEnd

from optlayers.implicit import LBFGS, AbstractIteration, Anderson, Broyden, FixedPointIteration, GradientDescent, Newton

rng = np.random.default_rng(0)
N = 4
A = rng.standard_normal((N, N))
A /= np.linalg.norm(A, 2)
B = rng.standard_normal(N)
WEIGHTS = np.arange(1.0, N + 1)
SCALES = np.array([0.0, 0.1, 0.6, 0.95])
"""Of elements of very different difficulty. The first is solved by its z0."""


def contraction(front: FrontEnd, scale: Any, z0: Any, batch_axes: int, **settings: Any) -> Any:
    """z = scale tanh(A z) + B; scale bounds the derivative of g."""
    xp, matrix, shift = front.xp, front.array(A), front.array(B)

    def g(z: Any, scale: Any) -> Any:
        return scale[..., None] * xp.tanh(z @ matrix.T) + shift

    return front.fixed_point(g, z0, scale, batch_axes=batch_axes, **settings)


def bowl(front: FrontEnd, scale: Any, z0: Any, batch_axes: int, **settings: Any) -> Any:
    """The minimum of |z - B|^2 / 2 + 5 scale sum_i i log cosh(A z)_i."""
    xp, matrix, shift = front.xp, front.array(A), front.array(B)
    weights = front.array(WEIGHTS)

    def phi(z: Any, scale: Any) -> Any:
        return xp.sum((z - shift) ** 2, axis=-1) / 2 + 5 * scale * xp.sum(
            weights * xp.log(xp.cosh(z @ matrix.T)), axis=-1
        )

    return front.argmin(phi, z0, scale, batch_axes=batch_axes, **settings)


SOLVERS: list[AbstractIteration] = [
    Newton(),
    Broyden(),
    Broyden(depth=3, tolerance=1e-9),
    Anderson(),
    Anderson(damping=0.7, depth=2),
    FixedPointIteration(),
    FixedPointIteration(damping=0.8),
]
MINIMIZERS: list[AbstractIteration] = [
    LBFGS(),
    LBFGS(depth=1),
    GradientDescent(),
    GradientDescent(step_length=0.05),
    Newton(),
    Broyden(scale=0.1),
]
CASES = [(contraction, solver) for solver in SOLVERS] + [(bowl, solver) for solver in MINIMIZERS]


def _label(case: Any) -> str:
    problem, solver = case
    changed = {
        name: value
        for name, value in vars(solver).items()
        if isinstance(value, int | float) and value != getattr(type(solver), name)
    }
    return f"{problem.__name__}-{type(solver).__name__}-" + "-".join(
        f"{name}={value}" for name, value in changed.items()
    )


cases = pytest.mark.parametrize(("problem", "solver"), CASES, ids=[_label(case) for case in CASES])


def expected_solution(problem: Any, scale: float) -> np.ndarray:
    if problem is contraction:
        return scipy.optimize.fsolve(lambda z: z - scale * np.tanh(A @ z) - B, B, xtol=1e-12)
    weights = 5 * scale * WEIGHTS
    return scipy.optimize.fsolve(lambda z: z - B + A.T @ (weights * np.tanh(A @ z)), B, xtol=1e-12)


def start(front: FrontEnd, count: int) -> Any:
    return front.array(np.broadcast_to(B, (count, N)).copy())


def slope_of_F(problem: Any, scale: float, z: np.ndarray) -> np.ndarray:
    """The derivative of F by scale."""
    return -np.tanh(A @ z) if problem is contraction else 5 * A.T @ (WEIGHTS * np.tanh(A @ z))


def expected_derivative(problem: Any, scale: float) -> np.ndarray:
    """Of the solution by scale."""
    z = expected_solution(problem, scale)
    bend = (1 - np.tanh(A @ z) ** 2)[:, None] * A
    jacobian = np.eye(N) + (-scale * bend if problem is contraction else 5 * scale * A.T @ (WEIGHTS[:, None] * bend))
    return -np.linalg.solve(jacobian, slope_of_F(problem, scale, z))
