"""Derivatives that change within the accuracy of the point at which they are taken: what the condition number and the
residual of a well solved linear system do not tell."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np
import pytest
import torch
from implicit.equations import BACKENDS, Backend

from optlayers.errors import SingularWarning
from optlayers.implicit import GMRES, LSMR, LU, BiCGStab, FixedPointIteration, LinearInfo

each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
each_method = pytest.mark.parametrize("method", [LU(), GMRES(), BiCGStab(), LSMR()], ids=lambda method: method.name)

CASES = {
    "z^2 = 0": (lambda z, t: z**2 - t, 0.0, "50%"),
    "z^2 = 1e-12": (lambda z, t: z**2 - t, 1e-12, "4[78]%"),
    "z^3 = 0": (lambda z, t: z**3 - t, 0.0, "56%"),
    "z^3 = t^3 at 0": (lambda z, t: z**3 - t**3, 0.0, "56%"),
}
"""Multiple roots, or nearly so, that the iteration approaches; in the last one J_theta vanishes too, dz/dt being 1."""


def number(backend: Backend, value: float) -> Any:
    return backend.array(np.array(value))


def root_of(backend: Backend, F: Any, t: Any, method: Any) -> Any:
    return backend.functions["root"](F, number(backend, 0.5), t, backward=method)


def derivatives(backend: Backend, f: Any, t: Any) -> list[Any]:
    """In reverse and in forward mode."""
    return [lambda: backend.jit(backend.grad(f))(t), lambda: backend.jit(lambda t: backend.jvp(f, t, t * 0 + 1))(t)]


@each_backend
@each_method
@pytest.mark.parametrize("case", CASES)
def test_multiple_roots_of_one_unknown_are_reported(
    backend: Backend, method: Any, case: str, without_checks: None
) -> None:
    F, at, part = CASES[case]
    for derivative in derivatives(backend, lambda t: root_of(backend, F, t, method), number(backend, at)):
        with pytest.warns(SingularWarning, match=f"the derivative changes by {part} within the accuracy of z"):
            np.asarray(derivative())


@each_backend
@each_method
def test_regular_roots_are_not(backend: Backend, method: Any, without_checks: None) -> None:
    """Warnings are errors. At 1e-6 the root is simple: 1e-3, known to eight digits."""
    for at, slope in ((1e-6, 500.0), (1.0, 0.5), (1e6, 5e-4)):
        for derivative in derivatives(
            backend, lambda t: root_of(backend, lambda z, t: z**2 - t, t, method), number(backend, at)
        ):
            np.testing.assert_allclose(np.asarray(derivative()), slope, rtol=1e-6)


@each_backend
def test_a_coarse_point_is_not_uncertain_where_the_equation_is_nearly_linear(
    backend: Backend, without_checks: None
) -> None:
    seen: list[LinearInfo] = []

    def f(t: Any) -> Any:
        return backend.functions["fixed_point"](
            lambda z, t: backend.xp.tanh(z / 2 + t), number(backend, 0.0), t,
            solver=FixedPointIteration(tolerance=1e-3), backward=LU(tolerance=1e-8), monitor=seen.append,
        )  # fmt: skip

    np.asarray(backend.jit(backend.grad(f))(number(backend, 0.3)))
    assert 1e-5 < float(seen[0].uncertainty) < 1e-2


@each_backend
def test_a_fold_of_two_unknowns_is_reported(backend: Backend, without_checks: None) -> None:
    """x^2 + y = t, x^2 - y = t: the condition number is 7e5 where the iteration stops, far from 1/sqrt(eps)."""

    def f(t: Any) -> Any:
        def F(z: Any, t: Any) -> Any:
            x, y = z["x"], z["y"]
            return {"x": x**2 + y - t, "y": x**2 - y - t}

        z = backend.functions["root"](F, {"x": number(backend, 1.0), "y": number(backend, 0.3)}, t)
        return z["x"] + z["y"]

    for derivative in derivatives(backend, f, number(backend, 0.0)):
        with pytest.warns(SingularWarning, match="changes by 50%"):
            np.asarray(derivative())


@each_backend
def test_only_the_element_in_doubt_is_named(backend: Backend, without_checks: None) -> None:
    t = backend.array(np.array([[1.0], [0.0], [4.0]]))

    def f(t: Any, **given: Any) -> Any:
        root = backend.functions["root"]
        return root(lambda z, t: z**2 - t, 0 * t + 0.5, t, **given)

    batched = [lambda t: f(t, batch_axes=1), backend.vmap(lambda t: f(t, batch_axes=1)[0])]
    for call in (batched[0], lambda t: batched[1](t[:, None])):
        for derivative in derivatives(backend, lambda t, call=call: backend.xp.sum(call(t)), t):
            with pytest.warns(SingularWarning, match=r"1 of 3:\n  batch index \(1,( 0)?\)"):
                np.asarray(derivative())


@each_backend
def test_jacobians_with_further_axes(backend: Backend, without_checks: None) -> None:
    """By vmap over cotangents: the worst of the systems with the same Jacobian is looked at."""
    t = backend.array(np.array([1.0, 0.0]))

    def f(t: Any) -> Any:
        return backend.functions["root"](lambda z, t: z**2 - t, 0 * t[:, None] + 0.5, t[:, None], batch_axes=1)[:, 0]

    jacrev = torch.func.jacrev if backend.name == "torch" else jax.jacrev
    with pytest.warns(SingularWarning, match="changes by 50%"):
        found = np.asarray(jacrev(f)(t))
    np.testing.assert_allclose(found[0], [0.5, 0], atol=1e-9)


@each_backend
def test_the_figure_is_that_of_the_definition(backend: Backend, without_checks: None) -> None:
    """|J(z - e) - J(z)| / |J(z)| with e = F(z) / J(z), for one unknown."""
    seen: list[LinearInfo] = []
    F, slope, t = (lambda z, t: z**3 + z - t), (lambda z: 3 * z**2 + 1), 2.0

    def f(t: Any) -> Any:
        return backend.functions["root"](
            F, number(backend, 1.7), t, solver=lambda F, z0: z0 - 0.6, on_failure="warn", monitor=seen.append,
            backward=LU(tolerance=1e-8),
        )  # fmt: skip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.asarray(backend.jit(backend.grad(f))(number(backend, t)))
    z = 1.7 - 0.6
    expected = abs(slope(z - F(z, t) / slope(z)) - slope(z)) / slope(z)
    np.testing.assert_allclose(seen[0].uncertainty, expected, rtol=1e-9)
