"""A step in place of the solution of each linear system: what it misses, and where it is refused."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from implicit.equations import BACKENDS, Backend

from optlayers.errors import DerivativeError, OptionError, SingularWarning
from optlayers.implicit import LU, Anderson, Broyden, FixedPointIteration, GradientDescent, LinearInfo, Newton

each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)


def raises(backend: Backend, text: str) -> Any:
    """Under jit, JAX wraps what a callback raises."""
    wrapped = (DerivativeError, jax.errors.JaxRuntimeError) if backend.name == "jax" else DerivativeError
    return pytest.raises(wrapped, match=text)


def array(backend: Backend, values: Any) -> Any:
    return backend.array(np.array(values, dtype=float))


def gradient(backend: Backend, kind: str, function: Any, z0: Any, t: float, **settings: Any) -> np.ndarray:
    def f(t: Any) -> Any:
        found = backend.functions[kind](function, array(backend, z0), t, differentiate="one_step", **settings)
        return backend.xp.sum(found)

    return np.asarray(backend.jit(backend.grad(f))(array(backend, t)))


@each_backend
@pytest.mark.parametrize("solver", [Broyden(), Anderson()], ids=lambda solver: solver.name)
def test_a_step_that_does_not_contract_is_refused(backend: Backend, solver: Any, without_checks: None) -> None:
    """z = t, by a residual of which a plain step would make 100 of a derivative of 1."""
    with raises(backend, r"by one step .*\n.*diverged.*\n.*take differentiate=\"implicit\""):
        gradient(backend, "root", lambda z, t: 100 * (z - t), 0.0, 1.0, solver=solver)


@each_backend
@pytest.mark.parametrize(
    ("solver", "scale"),
    [(FixedPointIteration(damping=0.8), 0.8), (Anderson(damping=0.7), 0.7), (Broyden(scale=0.6), 0.6)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_is_missed_is_reported(backend: Backend, solver: Any, scale: float, without_checks: None) -> None:
    """z = t / 2 + z / 4: the step is scale / 2 for a derivative of 2/3, and leaves |1 - 3/4 scale| of the cotangent."""
    seen: list[LinearInfo] = []
    found = gradient(backend, "fixed_point", lambda z, t: t / 2 + z / 4, 0.0, 1.0, solver=solver, monitor=seen.append)
    np.testing.assert_allclose(found, scale / 2, rtol=1e-12)
    np.testing.assert_allclose(seen[0].residual, abs(1 - 0.75 * scale), rtol=1e-12)


@each_backend
def test_newtons_step_is_the_implicit_derivative_to_second_order(backend: Backend, without_checks: None) -> None:
    def f(t: Any) -> Any:
        return backend.functions["root"](
            lambda z, t: z**3 + z - t, array(backend, 1.0), t, solver=Newton(), differentiate="one_step"
        )

    z = 1.0  # at t = 2
    slope = 1 / (3 * z**2 + 1)
    np.testing.assert_allclose(np.asarray(backend.grad(f)(array(backend, 2.0))), slope, rtol=1e-12)
    second = np.asarray(backend.jit(backend.grad(backend.grad(f)))(array(backend, 2.0)))
    np.testing.assert_allclose(second, -6 * z * slope**3, rtol=1e-12)


@each_backend
def test_newtons_step_at_a_singular_solution_is_refused(backend: Backend, without_checks: None) -> None:
    def F(z: Any, t: Any) -> Any:
        both = z[0] + z[1] - t
        return backend.xp.stack([both, 2 * both])

    at = [0.5, 0.5]  # a solution, so that Newton takes no step
    with raises(backend, "singular: the linear system has no unique solution"):
        gradient(backend, "root", F, at, 1.0, solver=Newton())
    assert np.isnan(gradient(backend, "root", F, at, 1.0, solver=Newton(), on_failure="nan"))
    with pytest.warns(SingularWarning, match="by LU .*\n.*changes by 50%"):
        gradient(backend, "root", lambda z, t: z**2 - t, 1.0, 0.0, solver=Newton())


@each_backend
def test_gradient_descent_of_a_given_step_length(backend: Backend, without_checks: None) -> None:
    def phi(z: Any, t: Any) -> Any:
        return (z - t) ** 2

    found = gradient(backend, "argmin", phi, 0.0, 1.0, solver=GradientDescent(step_length=0.4))
    np.testing.assert_allclose(found, 0.8, rtol=1e-12)  # two times the step
    with pytest.raises(OptionError, match="Give step_length="):
        gradient(backend, "argmin", phi, 0.0, 1.0, solver=GradientDescent())


@each_backend
@pytest.mark.parametrize("semantics", ["one_step", "unrolled"])
def test_a_backward_solver_that_would_not_be_used_is_refused(backend: Backend, semantics: str) -> None:
    with pytest.raises(OptionError, match=f'backward= belongs to .*implicit.*"{semantics}" has no use'):
        backend.functions["root"](
            lambda z, _: z, array(backend, 1.0), solver=Newton(), backward=LU(), differentiate=semantics
        )
