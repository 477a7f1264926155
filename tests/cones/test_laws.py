"""The laws of projections and their derivatives, for every cone and every array library."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from optlayers.cones import AbstractCone, Nonnegative, Product, Zero

CONES: list[AbstractCone] = [
    Zero(4),
    Nonnegative(5),
    Product((Zero(2), Nonnegative(3))),
    Product((Nonnegative(1), Zero(1), Nonnegative(2))),
    Product(()),
]
BATCH = (3, 2)

cones = pytest.mark.parametrize("cone", CONES, ids=str)


def points(cone: AbstractCone, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(0).standard_normal((*BATCH, cone.size))


@cones
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_projection(cone: AbstractCone, scale: float) -> None:
    """Idempotent, non-expansive, and by Moreau y in K*, s = y - v in K, y's = 0 (s >= 0 in the dual of K*)."""
    v, other = points(cone, scale), points(cone, scale)[::-1]
    y = cone.project_dual(np, v)
    np.testing.assert_array_equal(cone.project_dual(np, y), y)
    distance = np.linalg.norm(y - cone.project_dual(np, other), axis=-1)
    assert (distance <= np.linalg.norm(v - other, axis=-1) * (1 + 1e-15)).all()
    s = y - v
    assert np.abs((y * s).sum(axis=-1)).max(initial=0) <= 1e-15 * scale**2
    # s in K is equivalent to: -s projects to zero on K*.
    np.testing.assert_array_equal(cone.project_dual(np, -s), np.zeros_like(s))


@cones
def test_derivative_is_the_slope_of_the_projection(cone: AbstractCone) -> None:
    v = points(cone)
    direction = np.random.default_rng(1).standard_normal(v.shape)
    step = 1e-7
    slope = (cone.project_dual(np, v + step * direction) - cone.project_dual(np, v - step * direction)) / (2 * step)
    D = cone.derivative(np, v).entries
    np.testing.assert_allclose(D * direction, slope, atol=1e-8)
    assert ((D >= 0) & (D <= 1)).all()


@cones
def test_libraries_agree(cone: AbstractCone) -> None:
    v = points(cone)
    for xp, array in ((torch, torch.tensor(v)), (jnp, jnp.asarray(v))):
        library: Any = xp
        np.testing.assert_array_equal(np.asarray(cone.project_dual(library, array)), cone.project_dual(np, v))
        np.testing.assert_array_equal(
            np.asarray(cone.derivative(library, array).entries), cone.derivative(np, v).entries
        )


def test_a_weakly_active_row_counts_as_inactive() -> None:
    assert Nonnegative(1).derivative(np, np.zeros(1)).entries == 0
    assert Zero(1).derivative(np, np.zeros(1)).entries == 1
