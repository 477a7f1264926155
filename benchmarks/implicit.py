"""Implicit layers in JAX beside jaxopt and optimistix: `python -m benchmarks.implicit`.

Each contestant's compiled function returns the solution and the gradient of a loss of it by theta. *Set-up* is the time
to the first result, compilation included; *median* that of further calls. The errors are the largest distances from
the reference, relative to its largest entry: Newton's method to rounding, and a dense solve for the gradient.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import jax
import jax.numpy as jnp
import lineax
import numpy as np
import optimistix

from optlayers.implicit import GMRES, Anderson, ConjugateGradients, Newton
from optlayers.jax import argmin, fixed_point, root

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    import jaxopt
    from jaxopt.linear_solve import solve_cg, solve_gmres, solve_lu

TOLERANCE = 1e-10
TIGHT = {"rtol": TOLERANCE, "atol": TOLERANCE}
MATRIX_FREE = {"tol": TOLERANCE, "maxiter": 5000}


@final
@dataclass(frozen=True)
class Problem:
    """A layer theta -> z, the residual of its equation for all of z, and those who solve it."""

    name: str
    theta: Any
    residual: Callable[[Any, Any], Any]
    start: Any
    contestants: dict[str, Callable[[Any], Any]]


def batched_root(batch: int = 1000, n: int = 5) -> Problem:
    """Small systems, all different."""
    rng = np.random.default_rng(0)
    W = jnp.asarray(rng.standard_normal((n, n)) / n)
    x, z0 = jnp.asarray(rng.standard_normal((batch, n))), jnp.zeros(n)

    def F(z: Any, theta: Any) -> Any:
        W, x = theta
        return z + z**3 - jnp.tanh(z @ W.T + x)

    by_jaxopt = jaxopt.Broyden(F, implicit_diff_solve=solve_lu, tol=TOLERANCE, maxiter=100)  # of vectors kept, too
    newton = optimistix.Newton(**TIGHT)
    return Problem(
        f"{batch} roots of {n} unknowns",
        (W, x),
        F,
        jnp.zeros((batch, n)),
        {
            "optlayers": lambda theta: root(F, jnp.zeros((batch, n)), theta, batch_axes=1),
            "optlayers, full steps": lambda theta: root(
                F, jnp.zeros((batch, n)), theta, batch_axes=1, solver=Newton(max_halvings=0)
            ),
            "optlayers, vmap": lambda theta: jax.vmap(lambda x: root(F, z0, (theta[0], x)))(theta[1]),
            "jaxopt Broyden": lambda theta: jax.vmap(lambda x: by_jaxopt.run(z0, (theta[0], x)).params)(theta[1]),
            "optimistix Newton": lambda theta: jax.vmap(
                lambda x: optimistix.root_find(F, newton, z0, args=(theta[0], x)).value
            )(theta[1]),
        },
    )


def slow_fixed_point(n: int = 200, radius: float = 0.95) -> Problem:
    """A contraction near its limit."""
    rng = np.random.default_rng(1)
    W = rng.standard_normal((n, n))
    W *= radius / np.abs(np.linalg.eigvals(W)).max()
    theta, z0 = (jnp.asarray(W), jnp.asarray(rng.standard_normal(n) / 10)), jnp.zeros(n)

    def g(z: Any, theta: Any) -> Any:
        W, x = theta
        return jnp.sin(W @ z) + x

    differentiated = {"implicit_diff_solve": partial(solve_gmres, tol=TOLERANCE, restart=50, maxiter=20)}
    anderson = jaxopt.AndersonAcceleration(g, **MATRIX_FREE, **differentiated)
    plain = jaxopt.FixedPointIteration(g, **MATRIX_FREE, **differentiated)
    return Problem(
        f"fixed point of {n} unknowns",
        theta,
        lambda z, theta: z - g(z, theta),
        z0,
        {
            "optlayers": lambda theta: fixed_point(g, z0, theta),
            "optlayers GMRES": lambda theta: fixed_point(g, z0, theta, backward=GMRES(restart=50)),
            "optlayers Newton": lambda theta: fixed_point(g, z0, theta, solver=Newton()),
            "optlayers Anderson": lambda theta: fixed_point(g, z0, theta, solver=Anderson(), backward=Anderson()),
            "jaxopt Anderson": lambda theta: anderson.run(z0, theta).params,
            "jaxopt plain": lambda theta: plain.run(z0, theta).params,
            "optimistix plain": lambda theta: (
                optimistix.fixed_point(g, optimistix.FixedPointIteration(**TIGHT), z0, args=theta, max_steps=5000).value
            ),
            "optimistix Newton": lambda theta: (
                optimistix.fixed_point(g, optimistix.Newton(**TIGHT), z0, args=theta).value
            ),
        },
    )


def logistic_regression(samples: int = 1000, n: int = 50) -> Problem:
    """Differentiated by the penalties of the features, and by the features."""
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((samples, n)), np.sign(rng.standard_normal(samples))
    theta, z0 = (jnp.asarray(X * np.linspace(0.3, 3, n)), jnp.full(n, -4.0)), jnp.zeros(n)

    def phi(z: Any, theta: Any) -> Any:
        X, penalty = theta
        return jnp.logaddexp(0, -y * (X @ z)).mean() + jnp.exp(penalty) @ z**2 / 2

    lbfgs = jaxopt.LBFGS(phi, implicit_diff_solve=partial(solve_cg, tol=TOLERANCE), **MATRIX_FREE)
    return Problem(
        f"logistic regression, {samples} x {n}",
        theta,
        jax.grad(phi),
        z0,
        {
            "optlayers": lambda theta: argmin(phi, z0, theta),
            "optlayers CG": lambda theta: argmin(phi, z0, theta, backward=ConjugateGradients()),
            "optlayers Newton": lambda theta: argmin(phi, z0, theta, solver=Newton()),
            "jaxopt LBFGS": lambda theta: lbfgs.run(z0, theta).params,
            "optimistix BFGS": lambda theta: optimistix.minimise(
                phi, optimistix.BFGS(**TIGHT), z0, args=theta, max_steps=5000
            ).value,
            "optimistix LBFGS": lambda theta: optimistix.minimise(
                phi, optimistix.LBFGS(**TIGHT), z0, args=theta, max_steps=5000,
                adjoint=optimistix.ImplicitAdjoint(lineax.AutoLinearSolver(well_posed=None)),
            ).value,
        },
    )  # fmt: skip


def loss(z: Any) -> Any:
    return jnp.sum(jnp.sin(jnp.arange(z.size).reshape(z.shape) + z))


def reference(problem: Problem) -> tuple[Any, Any]:
    """z by Newton's method to rounding, and the gradient of the loss by a dense solve, both with J column by column."""
    z, theta = problem.start, problem.theta

    def residual(z: Any) -> Any:
        return problem.residual(z, theta)

    @jax.jit
    def jacobian(z: Any) -> Any:
        along = jax.vmap(lambda column: jax.jvp(residual, (z,), (jnp.broadcast_to(column, z.shape),))[1])
        return jnp.moveaxis(along(jnp.eye(z.shape[-1])), 0, -1)

    for _ in range(30):
        z = z - jnp.linalg.solve(jacobian(z), residual(z)[..., None])[..., 0]
    u = jnp.linalg.solve(jnp.swapaxes(jacobian(z), -1, -2), jax.grad(loss)(z)[..., None])[..., 0]
    (gradient,) = jax.vjp(lambda theta: problem.residual(z, theta), theta)[1](-u)
    return z, gradient


def distance(found: Any, expected: Any) -> float:
    """The largest distance of the leaves, relative to the largest entry of each."""
    return max(
        float(jnp.abs(a - b).max() / jnp.abs(b).max())
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    )


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=21)
    repeats = parser.parse_args().repeats
    jax.config.update("jax_enable_x64", True)
    for problem in (batched_root(), slow_fixed_point(), logistic_regression()):
        z, gradient = reference(problem)
        print(f"\n{problem.name}\n{'':24}set-up s  median ms  solution error  gradient error", flush=True)
        for name, solution in problem.contestants.items():
            run_contestant(name, solution, problem.theta, (z, gradient), repeats)


def run_contestant(name: str, solution: Callable[[Any], Any], theta: Any, expected: Any, repeats: int) -> None:
    """Print one row."""

    def value(theta: Any) -> Any:
        z = solution(theta)
        return loss(z), z

    compiled = jax.jit(jax.grad(value, has_aux=True))
    start = time.perf_counter()
    try:
        gradient, z = jax.block_until_ready(compiled(theta))
    except Exception as error:
        print(f"{name:24}failed: {str(error).strip().splitlines()[-1][:80]}", flush=True)
        return
    first = time.perf_counter() - start
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(theta))
        times.append(time.perf_counter() - start)
    errors = [distance(found, exact) for found, exact in zip((z, gradient), expected, strict=True)]
    print(f"{name:24}{first:8.2f}{1e3 * np.median(times):11.2f}{errors[0]:16.0e}{errors[1]:16.0e}", flush=True)


if __name__ == "__main__":
    main()
