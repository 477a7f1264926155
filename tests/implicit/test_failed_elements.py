"""Elements without a solution, made NaN: what they do to the derivatives of others, and to what is shared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from implicit.equations import BACKENDS, Backend

from optlayers.implicit import GMRES, LU, Newton

each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
each_method = pytest.mark.parametrize("method", [LU(), GMRES()], ids=lambda method: method.name)

X = np.array([[4.0], [-1.0], [9.0]])
"""z^2 = w x has no root where x < 0."""


def root(backend: Backend, w: Any, method: Any) -> Any:
    """Of z^2 = w x, with w shared by the batch."""
    x = backend.array(X)
    return backend.functions["root"](
        lambda z, theta: z**2 - theta[0] * theta[1], 0 * x + 1, (w, x), batch_axes=1, backward=method,
        solver=Newton(max_iterations=20), on_failure="nan",
    )  # fmt: skip


def weight(backend: Backend) -> Any:
    return backend.array(np.array(1.0))


@each_backend
@each_method
def test_a_loss_that_leaves_them_out_has_the_gradient_of_the_others(
    backend: Backend, method: Any, without_checks: None
) -> None:
    """dz/dw = x / (2 z): 1 and 3/2 at the two roots."""
    chosen = backend.array(np.array([[True], [False], [True]]))

    def loss(w: Any) -> Any:
        z = root(backend, w, method)
        return backend.xp.sum(backend.xp.where(chosen, z, 0 * z[:1] + 0.0))

    gradient = np.asarray(backend.jit(backend.grad(loss))(weight(backend)))
    np.testing.assert_allclose(gradient, 1.0 + 1.5, rtol=1e-9)
    summed = np.asarray(
        backend.jit(backend.grad(lambda w: backend.xp.nansum(root(backend, w, method))))(weight(backend))
    )
    np.testing.assert_allclose(summed, 1.0 + 1.5, rtol=1e-9)


@each_backend
@each_method
def test_a_loss_that_uses_them_has_no_gradient(backend: Backend, method: Any, without_checks: None) -> None:
    gradient = backend.jit(backend.grad(lambda w: backend.xp.sum(root(backend, w, method))))(weight(backend))
    assert np.isnan(np.asarray(gradient))


@each_backend
@each_method
def test_tangents_are_nan_for_them_only(backend: Backend, method: Any, without_checks: None) -> None:
    w = weight(backend)
    tangents = np.asarray(backend.jit(lambda w: backend.jvp(lambda w: root(backend, w, method), w, 0 * w + 1))(w))
    np.testing.assert_allclose(tangents[[0, 2], 0], [1.0, 1.5], rtol=1e-9)
    assert np.isnan(tangents[1, 0])


@each_backend
def test_second_derivatives_without_them(backend: Backend, without_checks: None) -> None:
    """z = sqrt(w x): d2z/dw2 = -sqrt(x) / 4 at w = 1."""

    def loss(w: Any) -> Any:
        z = root(backend, w, LU())
        return z[0, 0] + z[2, 0]

    second = np.asarray(backend.jit(backend.grad(backend.grad(loss)))(weight(backend)))
    np.testing.assert_allclose(second, -(2 + 3) / 4, rtol=1e-8)
