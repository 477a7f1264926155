"""The same solutions and gradients as jaxopt and optimistix find, and the solvers of optimistix and lineax in ours."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import lineax
import numpy as np
import optimistix
import pytest

from optlayers.implicit import LBFGS, Anderson, Broyden, FixedPointIteration, Newton
from optlayers.jax import argmin, fixed_point, root
from optlayers.jax.lineax import Lineax
from optlayers.jax.optimistix import Optimistix

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="JAXopt is no longer maintained", category=DeprecationWarning)
    import jaxopt
    from jaxopt.linear_solve import solve_normal_cg

pytestmark = pytest.mark.usefixtures("without_checks")

N, SAMPLES = 6, 30
RNG = np.random.default_rng(0)
W = RNG.standard_normal((N, N))
W *= 0.8 / np.linalg.norm(W, 2)
FEATURES, LABELS = RNG.standard_normal((SAMPLES, N)), np.sign(RNG.standard_normal(SAMPLES))
THETA = (W, RNG.standard_normal(N))
WEIGHTS = RNG.standard_normal(N)
TIGHT = {"rtol": 1e-11, "atol": 1e-11}
TOLERANCE = 1e-8
"""All stop at residuals of about 1e-10; the derivatives of the three equations by z have inverses below 10."""


def g(z: Any, theta: Any) -> Any:
    return jnp.tanh(theta[0] @ z + theta[1])


def F(z: Any, theta: Any) -> Any:
    return z - g(z, theta) + z**3 / 10


def phi(z: Any, theta: Any) -> Any:
    """Logistic regression, with features and penalties that depend on theta."""
    margins = LABELS * (FEATURES @ (z + theta[0] @ z))
    return jnp.logaddexp(0, -margins).mean() + jnp.exp(theta[1]) @ z**2 / 4


Solution = Callable[[Any], Any]

OURS: dict[str, list[Solution]] = {
    "root": [
        lambda theta: root(F, jnp.zeros(N), theta, solver=Newton()),
        lambda theta: root(F, jnp.zeros(N), theta, solver=Broyden()),
        lambda theta: root(F, jnp.zeros(N), theta, solver=Optimistix(optimistix.Dogleg(**TIGHT))),
        lambda theta: root(F, jnp.zeros(N), theta, solver=Optimistix(optimistix.LevenbergMarquardt(**TIGHT))),
    ],
    "fixed_point": [
        lambda theta: fixed_point(g, jnp.zeros(N), theta, solver=Anderson()),
        lambda theta: fixed_point(g, jnp.zeros(N), theta, solver=FixedPointIteration()),
        lambda theta: fixed_point(g, jnp.zeros(N), theta, solver=Optimistix(optimistix.Newton(**TIGHT))),
    ],
    "argmin": [
        lambda theta: argmin(phi, jnp.zeros(N), theta, solver=LBFGS()),
        lambda theta: argmin(phi, jnp.zeros(N), theta, solver=Newton()),
    ],
}


def by_jaxopt(solver: Any) -> Solution:
    return lambda theta: solver.run(jnp.zeros(N), theta).params


JAXOPT = {"tol": 1e-11, "maxiter": 500, "implicit_diff_solve": partial(solve_normal_cg, tol=1e-12)}

RIVALS: dict[str, list[Solution]] = {
    "root": [
        by_jaxopt(jaxopt.Broyden(F, **JAXOPT)),
        lambda theta: optimistix.root_find(F, optimistix.Newton(**TIGHT), jnp.zeros(N), args=theta).value,
    ],
    "fixed_point": [
        by_jaxopt(jaxopt.FixedPointIteration(g, **JAXOPT)),
        by_jaxopt(jaxopt.AndersonAcceleration(g, **JAXOPT)),
        lambda theta: (
            optimistix.fixed_point(g, optimistix.FixedPointIteration(**TIGHT), jnp.zeros(N), args=theta).value
        ),
    ],
    "argmin": [
        by_jaxopt(jaxopt.LBFGS(phi, **JAXOPT)),
        lambda theta: optimistix.minimise(phi, optimistix.BFGS(**TIGHT), jnp.zeros(N), args=theta).value,
    ],
}


def both(solution: Solution) -> Callable[[Any], Any]:
    """The solution and its gradient, a tree."""

    def loss(theta: Any) -> Any:
        z = solution(theta)
        return jnp.sum(WEIGHTS * jnp.sin(z)), z

    def result(theta: Any) -> Any:
        gradient, z = jax.grad(loss, has_aux=True)(theta)
        return z, gradient

    return result


@pytest.mark.parametrize("kind", OURS)
def test_solutions_and_gradients_are_the_rivals(kind: str) -> None:
    theta = tuple(map(jnp.asarray, THETA))
    found = jax.jit(lambda theta: [both(solution)(theta) for solution in OURS[kind] + RIVALS[kind]])(theta)
    ours, rivals = found[: len(OURS[kind])], found[len(OURS[kind]) :]
    for place, expected in enumerate(rivals):
        for each in ours:
            jax.tree.map(
                lambda a, b, place=place: np.testing.assert_allclose(a, b, 0, TOLERANCE, err_msg=f"rival {place}"),
                each,
                expected,
            )


BACKWARD = [
    Lineax(solver=lineax.LU()),
    Lineax(solver=lineax.QR()),
    Lineax(solver=lineax.SVD()),
    Lineax(solver=lineax.GMRES(rtol=1e-12, atol=1e-12)),
    Lineax(solver=lineax.BiCGStab(rtol=1e-12, atol=1e-12)),
]


def test_lineax_solves_the_linear_systems_of_derivatives() -> None:
    """Of a batch: of its elements together, and mapped."""
    systems = jnp.asarray(W) * jnp.array([0.3, 1.0])[:, None, None]

    def together(W: Any, solver: Any) -> Any:
        def F(z: Any, W: Any) -> Any:
            return z - jnp.tanh((W @ z[..., None])[..., 0] + THETA[1]) + z**3 / 10

        return jnp.sin(root(F, jnp.zeros((2, N)), W, batch_axes=1, backward=solver)).sum()

    def mapped(W: Any, solver: Any) -> Any:
        def one(W: Any) -> Any:
            return root(F, jnp.zeros(N), (W, jnp.asarray(THETA[1])), backward=solver)

        return jnp.sin(jax.vmap(one)(W)).sum()

    def gradients(W: Any) -> Any:
        expected = jax.grad(together)(W, None)
        return expected, [jax.grad(f)(W, solver) for solver in BACKWARD for f in (together, mapped)]

    expected, found = jax.jit(gradients)(systems)
    for each in found:
        np.testing.assert_allclose(each, expected, rtol=0, atol=1e-9)


def test_lineax_solves_the_symmetric_systems_of_a_minimum() -> None:
    def gradient(theta: Any, solver: Any) -> Any:
        return jax.grad(lambda theta: jnp.sin(argmin(phi, jnp.zeros(N), theta, backward=solver)).sum())(theta)

    theta = tuple(map(jnp.asarray, THETA))
    solvers = [None, Lineax(solver=lineax.CG(rtol=1e-12, atol=1e-12)), Lineax(solver=lineax.Cholesky())]
    expected, *found = jax.jit(lambda theta: [gradient(theta, solver) for solver in solvers])(theta)
    for each in found:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-9), each, expected)


def test_failures_of_the_others_are_ours() -> None:
    theta = tuple(map(jnp.asarray, THETA))
    stopped = Optimistix(optimistix.Newton(**TIGHT), max_steps=1)
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"ConvergenceError: .*by the given function"):
        jax.jit(lambda theta: root(F, jnp.zeros(N), theta, solver=stopped))(theta)
    early = Lineax(solver=lineax.GMRES(rtol=1e-12, atol=1e-12, restart=1, max_steps=1))
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"DerivativeError: .*by lineax"):
        jax.jit(jax.grad(lambda theta: root(F, jnp.zeros(N), theta, backward=early).sum()))(theta)
