"""The laws of projections and their derivatives, for every cone and every array library.

A new cone gets the whole suite by its place in `CONES`, and its definition in `cone_definitions`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cone_definitions import nearest, sample, sample_dual

from optlayers.cones import (
    AbstractCone,
    AbstractDerivative,
    AbstractRotation,
    Dual,
    Exponential,
    Nonnegative,
    Power,
    Product,
    Resolution,
    SecondOrder,
    Semidefinite,
    Zero,
)

PRIMAL_CONES: list[AbstractCone] = [
    Zero(3),
    Nonnegative(1),
    Nonnegative(4),
    SecondOrder(1),
    SecondOrder(2),
    SecondOrder(5),
    Semidefinite(1),
    Semidefinite(2),
    Semidefinite(4),
    Exponential(),
    Power((0.3, 0.7)),
    Power((0.5, 0.5)),
    Power((0.2, 0.3, 0.5)),
]
CONES = [*PRIMAL_CONES, *(Dual(cone) for cone in PRIMAL_CONES)]
PRODUCTS = [
    Product(()),
    Product((Zero(2), Nonnegative(3))),
    Product((Nonnegative(1), Zero(1), Nonnegative(2))),
    Product((Zero(1), SecondOrder(3), SecondOrder(3), SecondOrder(2), Semidefinite(2), Semidefinite(2))),
    Product((Exponential(), Exponential(), Dual(Exponential()), Power((0.3, 0.7)), Dual(Power((0.3, 0.7))))),
]
MU = 0.1

ROUNDING = 1e-13
"""Relative rounding of a projection and of D at a well-conditioned point: some hundred units in the last place."""

STEP = 1e-5
"""Central differences: the step squared times a third derivative, and rounding over the step, are both about 1e-10."""

SLOPE = 1e-8
"""What central differences agree to: 1e-10 times the third derivative and the directions' size, at most 1e2 here."""

RESIDUAL = 1e-10
"""The residuals that the general solver is asked for."""

cones = pytest.mark.parametrize("cone", CONES, ids=str)


@dataclass(frozen=True)
class Points:
    """Points (*B, size) of one kind each, relative size about 1."""

    generic: np.ndarray
    inside_dual: np.ndarray
    inside_polar: np.ndarray
    boundary_dual: np.ndarray
    boundary_polar: np.ndarray
    near_boundary: np.ndarray
    apex: np.ndarray

    @property
    def regular(self) -> np.ndarray:
        """The points well away from every kink."""
        return np.concatenate([self.generic, self.inside_dual, self.inside_polar])

    @property
    def all(self) -> np.ndarray:
        kinks = [self.boundary_dual, self.boundary_polar, self.near_boundary, self.apex]
        return np.concatenate([self.regular, *kinks])


@cache
def points(cone: AbstractCone) -> Points:
    """The points of every kind; those of K* and -K come from the cone's definition, sums of many are inside."""
    generator = np.random.default_rng(5)
    dual = np.array([[sample_dual(cone, generator) for _ in range(4 * cone.size)] for _ in range(2)])
    polar = -np.array([[sample(cone, generator) for _ in range(4 * cone.size)] for _ in range(2)])
    boundary_dual, boundary_polar = dual[:, 0], polar[:, 0]
    noise = 1e-9 * generator.standard_normal((2, 2, cone.size))
    return Points(
        generic=generator.standard_normal((8, cone.size)),
        inside_dual=dual.mean(axis=1),
        inside_polar=polar.mean(axis=1),
        boundary_dual=boundary_dual,
        boundary_polar=boundary_polar,
        near_boundary=np.concatenate([boundary_dual + noise[0], boundary_polar + noise[1]]),
        apex=np.zeros((1, cone.size)),
    )


def norm(v: np.ndarray) -> np.ndarray:
    return np.linalg.norm(v, axis=-1)


def dense(D: AbstractDerivative, shape: tuple[int, ...], xp: Any = np, like: Any = None) -> np.ndarray:
    """D as matrices (*B, size, size), column by column."""
    identity = np.eye(shape[-1])
    columns = []
    for unit in identity:
        h: Any = np.broadcast_to(unit, shape).copy()
        columns.append(np.asarray(D.apply(xp, h if like is None else like(h))))
    return np.stack(columns, axis=-1)


def directions(v: np.ndarray, count: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((count, *v.shape))


def difference(function: Callable[[np.ndarray], np.ndarray], v: np.ndarray, h: np.ndarray) -> np.ndarray:
    return (function(v + STEP * h) - function(v - STEP * h)) / (2 * STEP)


@cones
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_moreau(cone: AbstractCone, scale: float) -> None:
    """y in K*, s = y - v in K, y's = 0 determine y = Pi(v). Membership is tested on points of the opposite cone."""
    v = scale * points(cone).all
    y = cone.project_dual(np, v)
    s = y - v
    tolerance = ROUNDING * norm(v)
    assert (np.abs((y * s).sum(axis=-1)) <= tolerance * norm(v)).all()
    generator = np.random.default_rng(3)
    for _ in range(200):
        k, k_dual = sample(cone, generator), sample_dual(cone, generator)
        assert (y @ k >= -tolerance * norm(k)).all(), "y is not in K*"
        assert (s @ k_dual >= -tolerance * norm(k_dual)).all(), "s is not in K"
    assert (norm(cone.project_dual(np, y) - y) <= tolerance).all(), "not idempotent"
    assert (norm(cone.project_dual(np, -s)) <= tolerance).all(), "-s does not project to zero"


@cones
def test_projection_is_the_nearest_point(cone: AbstractCone) -> None:
    for v in points(cone).generic:
        expected = nearest(cone, v, RESIDUAL)
        coarse = isinstance(inner := cone.cone if isinstance(cone, Dual) else cone, Power) and inner.size > 3
        accuracy = np.sqrt(2e-8) if coarse else 100 * RESIDUAL  # the objective is strongly convex
        assert norm(cone.project_dual(np, v) - expected) <= accuracy * max(1, norm(v))


@cones
def test_projection_is_non_expansive(cone: AbstractCone) -> None:
    v = points(cone).all
    y = cone.project_dual(np, v)
    for shift in range(1, len(v)):
        distance = norm(y - np.roll(y, shift, axis=0))
        assert (distance <= norm(v - np.roll(v, shift, axis=0)) + 2 * ROUNDING * norm(v).max()).all()


@cones
def test_spectrum(cone: AbstractCone) -> None:
    """D is symmetric with eigenvalues in [0, 1], the complement is I - D, and D v = Pi(v) as Pi is homogeneous."""
    v = points(cone).all
    D = cone.derivative(np, v)
    matrix = dense(D, v.shape)
    np.testing.assert_allclose(matrix, np.swapaxes(matrix, -1, -2), atol=ROUNDING, rtol=0)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert eigenvalues.min() >= -ROUNDING
    assert eigenvalues.max() <= 1 + ROUNDING
    np.testing.assert_allclose(dense(D.complement(np), v.shape), np.eye(cone.size) - matrix, atol=ROUNDING, rtol=0)
    regular = points(cone).regular
    error = norm(cone.derivative(np, regular).apply(np, regular) - cone.project_dual(np, regular))
    assert (error <= 10 * ROUNDING * norm(regular)).all()


@cones
def test_rotation(cone: AbstractCone) -> None:
    """Of a D in the form Q diag(l) Q', exact or smoothed: Q is orthogonal, takes several columns, and diagonalises."""
    v = points(cone).all
    for D in (cone.derivative(np, v), cone.smoothed(np, v, MU).derivative):
        if not isinstance(D, AbstractRotation):
            continue
        identity = np.broadcast_to(np.eye(cone.size), (*v.shape, cone.size)).copy()
        Q = D.rotate_back(np, identity)
        np.testing.assert_allclose(D.rotate(np, Q), identity, atol=ROUNDING, rtol=0)
        np.testing.assert_allclose(D.rotate(np, identity), np.swapaxes(Q, -1, -2), atol=ROUNDING, rtol=0)
        product = Q * D.eigenvalues[..., None, :] @ np.swapaxes(Q, -1, -2)
        np.testing.assert_allclose(product, dense(D, v.shape), atol=ROUNDING, rtol=0)
        assert D.eigenvalues.min() >= 0
        assert D.eigenvalues.max() <= 1


@cones
def test_derivative_is_the_slope_of_the_projection(cone: AbstractCone) -> None:
    v = points(cone).regular
    D = cone.derivative(np, v)
    for h in directions(v, 3):
        slope = difference(lambda w: cone.project_dual(np, w), v, h)
        np.testing.assert_allclose(D.apply(np, h), slope, atol=SLOPE, rtol=0)


@cones
@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_homogeneity(cone: AbstractCone, scale: float) -> None:
    """Pi(c v) = c Pi(v) everywhere; D(c v) = D(v) and the second derivative is inverse to c away from the kinks."""
    v = points(cone).all
    error = norm(cone.project_dual(np, scale * v) / scale - cone.project_dual(np, v))
    assert (error <= ROUNDING * norm(v)).all()
    v = points(cone).regular
    matrix = dense(cone.derivative(np, v), v.shape)
    np.testing.assert_allclose(dense(cone.derivative(np, scale * v), v.shape), matrix, atol=10 * ROUNDING, rtol=0)
    a, c = directions(v, 2)
    second = cone.second_derivative(np, v, a, c)
    error = norm(cone.second_derivative(np, scale * v, a, c) * scale - second)
    assert (error <= 1e-11 * norm(a) * norm(c) * np.maximum(1, norm(second))).all()


@cones
def test_second_derivative_is_the_slope_of_the_derivative(cone: AbstractCone) -> None:
    v = points(cone).regular
    a, c, *steps = directions(v, 5)
    gradient = cone.second_derivative(np, v, a, c)
    for h in steps:
        slope = difference(lambda w: (a * cone.derivative(np, w).apply(np, c)).sum(axis=-1), v, h)
        np.testing.assert_allclose((gradient * h).sum(axis=-1), slope, atol=10 * SLOPE, rtol=10 * SLOPE)
    np.testing.assert_allclose(cone.second_derivative(np, v, c, a), gradient, atol=1e-11, rtol=1e-11)


@cones
def test_second_derivative_is_finite_on_kinks(cone: AbstractCone) -> None:
    kinks = points(cone)
    v = np.concatenate([kinks.boundary_dual, kinks.boundary_polar, kinks.apex])
    assert np.isfinite(cone.second_derivative(np, v, *directions(v, 2))).all()


@cones
@pytest.mark.parametrize("mu", [1e-12, 1e-6, MU])
def test_smoothed_projection(cone: AbstractCone, mu: float) -> None:
    """y in K*, s = y - v in K, 0 <= y's <= size mu, where `size` bounds the barrier's parameter.

    It follows that |y - Pi(v)|^2 <= size mu, as y - Pi(v) = s - (Pi(v) - v).
    """
    v = points(cone).all
    y = cone.smoothed(np, v, mu).y
    s = y - v
    tolerance = ROUNDING * (norm(v) + 1)
    generator = np.random.default_rng(3)
    for _ in range(100):
        k, k_dual = sample(cone, generator), sample_dual(cone, generator)
        assert (y @ k >= -tolerance * norm(k)).all(), "y is not in K*"
        assert (s @ k_dual >= -tolerance * norm(k_dual)).all(), "s is not in K"
    product, error = (y * s).sum(axis=-1), tolerance * (norm(y) + norm(s))
    assert (product >= -error).all()
    assert (product <= cone.size * mu + error).all()
    assert (norm(y - cone.project_dual(np, v)) <= np.sqrt(cone.size * mu) + tolerance).all()


@cones
def test_derivative_of_the_smoothed_projection(cone: AbstractCone) -> None:
    v = points(cone).all
    D = cone.smoothed(np, v, MU).derivative
    for h in directions(v, 3):
        slope = difference(lambda w: cone.smoothed(np, w, MU).y, v, h)
        np.testing.assert_allclose(D.apply(np, h), slope, atol=SLOPE, rtol=SLOPE)
    matrix = dense(D, v.shape)
    np.testing.assert_allclose(matrix, np.swapaxes(matrix, -1, -2), atol=ROUNDING, rtol=0)
    eigenvalues = np.linalg.eigvalsh(matrix)
    if cone in (Zero(cone.size), Dual(Zero(cone.size))):  # K* or K is a subspace, and needs no barrier
        assert (eigenvalues == (1 if isinstance(cone, Zero) else 0)).all()
    else:
        assert eigenvalues.min() > 0
        assert eigenvalues.max() < 1
    np.testing.assert_allclose(dense(D.complement(np), v.shape), np.eye(cone.size) - matrix, atol=ROUNDING, rtol=0)


@cones
def test_kinks(cone: AbstractCone) -> None:
    """They are found on the boundaries of K* and -K, and nowhere else; D of a point on one is robust to rounding."""
    place = points(cone)

    def resolution(v: np.ndarray) -> Resolution:
        width = np.broadcast_to(1e-11 * norm(v)[:, None] + 1e-14, v.shape).copy()
        return Resolution(width, width)

    assert not cone.kinks(np, place.regular, resolution(place.regular)).any()
    subspace = cone in (Zero(cone.size), Dual(Zero(cone.size)))
    for v in (place.boundary_dual, place.boundary_polar, place.apex):
        # A ray has no boundary but its apex, and a sample of the orthant may be inside.
        ray_or_orthant = cone.size == 1 or cone in (Nonnegative(cone.size), Dual(Nonnegative(cone.size)))
        on_kink = (v == 0).any(axis=-1) if ray_or_orthant else np.full(len(v), True)
        found = cone.kinks(np, v, resolution(v)).any(axis=-1)
        np.testing.assert_array_equal(found, on_kink & (not subspace))
        matrix = dense(cone.derivative(np, v, resolution(v)), v.shape)
        for noise in directions(v, 4):
            moved = v + 1e-14 * norm(v)[:, None] * noise
            nearby = dense(cone.derivative(np, moved, resolution(v)), v.shape)
            np.testing.assert_allclose(nearby, matrix, atol=1e-11, rtol=0)


@cones
def test_active_rows_are_those_where_the_derivative_is_not_zero(cone: AbstractCone) -> None:
    """Or those of a whole cone, where some of its rows do not move: on a face."""
    v = np.concatenate([points(cone).regular, points(cone).apex])
    if isinstance(cone, Dual):  # at the apex the dual of a cone has D = I and y = 0
        v = v[:-1]
    moves = (dense(cone.derivative(np, v), v.shape) != 0).any(axis=-1)
    active = cone.active(np, cone.project_dual(np, v))
    assert active[moves].all()
    np.testing.assert_array_equal(active.any(axis=-1), moves.any(axis=-1))


@cones
def test_batch_axes_are_a_loop(cone: AbstractCone) -> None:
    """A batch (2, 4) gives what its points give one by one, without a batch axis."""
    v = points(cone).generic.reshape(2, 4, cone.size)
    h, a = directions(v, 2)
    zero = Resolution(np.full_like(v, 1e-9), np.full_like(v, 1e-9))

    def everything(*index: Any) -> list[np.ndarray]:
        here, step, weight = v[index], h[index], a[index]
        width = Resolution(zero.dual[index], zero.primal[index])
        D = cone.derivative(np, here, width)
        smoothed = cone.smoothed(np, here, MU)
        y = cone.project_dual(np, here)
        return [
            y,
            D.apply(np, step),
            D.complement(np).apply(np, step),
            cone.second_derivative(np, here, step, weight),
            smoothed.y,
            smoothed.derivative.apply(np, step),
            cone.kinks(np, here, width),
            cone.active(np, y),
        ]

    batched = everything()
    for i in range(2):
        for j in range(4):
            for part, single in zip(batched, everything(i, j), strict=True):
                assert part[i, j].shape == single.shape
                np.testing.assert_allclose(part[i, j], single, atol=ROUNDING, rtol=100 * ROUNDING)


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("cone", PRIMAL_CONES, ids=str)
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_libraries_agree(cone: AbstractCone, library: str) -> None:
    v = points(cone).regular

    def everything(xp: Any, everywhere: Any, v: Any, a: Any, c: Any, width: Any) -> tuple[Any, ...]:
        zero = Resolution(width, width)
        smoothed = cone.smoothed(xp, v, MU)
        return (
            cone.derivative(xp, v, zero).apply(xp, a),
            cone.kinks(xp, v, zero),
            cone.active(xp, cone.project_dual(xp, v)),
            cone.second_derivative(xp, v, a, c),
            smoothed.y,
            smoothed.derivative.apply(xp, a),
            cone.project_dual(xp, everywhere),
        )

    inputs = (points(cone).all, v, *directions(v, 2), np.full_like(v, 1e-9))
    xp, convert = {"torch": (torch, torch.tensor), "jax": (jnp, jnp.asarray)}[library]
    compute = partial(everything, xp)
    if library == "jax" and not isinstance(cone, Exponential | Power):  # a search for a root takes long to compile
        compute = jax.jit(compute)
    ours = compute(*(convert(array) for array in inputs))
    expected = everything(np, *inputs)
    for one, other in zip(ours[:-1], expected[:-1], strict=True):
        np.testing.assert_allclose(np.asarray(one), other, atol=1e-11, rtol=1e-11)
    np.testing.assert_allclose(np.asarray(ours[-1]), expected[-1], atol=10 * ROUNDING, rtol=0)


@pytest.mark.parametrize("cone", [Zero(2), Nonnegative(3), SecondOrder(4), Semidefinite(3), Power((0.3, 0.7))], ids=str)
def test_compiled_by_jax(cone: AbstractCone) -> None:
    """The power cone stands for those whose projection is a search for a root, which take seconds to compile."""
    v = points(cone).regular
    (h,) = directions(v, 1)
    xp: Any = jnp
    compiled = jax.jit(lambda v, h: (cone.project_dual(xp, v), cone.derivative(xp, v).apply(xp, h)))
    y, Dh = compiled(jnp.asarray(v), jnp.asarray(h))
    np.testing.assert_allclose(y, cone.project_dual(np, v), atol=10 * ROUNDING, rtol=0)
    np.testing.assert_allclose(Dh, cone.derivative(np, v).apply(np, h), atol=1e-11, rtol=0)


@cones
def test_single_precision(cone: AbstractCone) -> None:
    """Everything keeps torch's float32, to 1e-6 of a relative error."""
    xp: Any = torch
    v = points(cone).regular
    array = torch.tensor(v, dtype=torch.float32)
    y = cone.project_dual(xp, array)
    Dv = cone.derivative(xp, array).apply(xp, array)
    smoothed = cone.smoothed(xp, array, MU)
    for part in (y, Dv, smoothed.y, smoothed.derivative.apply(xp, array)):
        assert part.dtype == torch.float32
    for part in (y, Dv):
        assert (norm(np.asarray(part) - cone.project_dual(np, v)) <= 100 * 6e-8 * norm(v)).all()


@pytest.mark.parametrize("product", PRODUCTS, ids=str)
def test_a_product_acts_on_each_factor(product: Product) -> None:
    shape = (2, 3, product.size)
    v, h, a = np.random.default_rng(4).standard_normal((3, *shape))
    width = np.full_like(v, 1e-9)
    stops = np.cumsum([cone.size for cone in product.factors])
    rows = [slice(stop - cone.size, stop) for cone, stop in zip(product.factors, stops, strict=True)]

    def joined(function: Callable[[AbstractCone, slice], np.ndarray]) -> np.ndarray:
        parts = [function(cone, part) for cone, part in zip(product.factors, rows, strict=True)]
        return np.concatenate(parts, axis=-1) if parts else np.zeros(shape)

    def cut(part: slice) -> Resolution:
        return Resolution(width[..., part], width[..., part])

    smoothed_y, smoothed_D = product.smoothed(np, v, MU)
    pairs = [
        (product.project_dual(np, v), lambda cone, part: cone.project_dual(np, v[..., part])),
        (
            product.derivative(np, v, Resolution(width, width)).apply(np, h),
            lambda cone, part: cone.derivative(np, v[..., part], cut(part)).apply(np, h[..., part]),
        ),
        (
            product.second_derivative(np, v, h, a),
            lambda cone, part: cone.second_derivative(np, v[..., part], h[..., part], a[..., part]),
        ),
        (smoothed_y, lambda cone, part: cone.smoothed(np, v[..., part], MU).y),
        (
            smoothed_D.apply(np, h),
            lambda cone, part: cone.smoothed(np, v[..., part], MU).derivative.apply(np, h[..., part]),
        ),
        (
            product.kinks(np, v, Resolution(width, width)),
            lambda cone, part: cone.kinks(np, v[..., part], cut(part)),
        ),
        (product.active(np, v), lambda cone, part: cone.active(np, v[..., part])),
    ]
    for whole, part in pairs:
        np.testing.assert_allclose(whole, joined(part), atol=ROUNDING, rtol=100 * ROUNDING)
