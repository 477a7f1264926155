"""The exponential cone against its rays in hundreds of digits, on extreme rays, on its faces and kinks."""

from __future__ import annotations

from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Decimal, localcontext
from typing import Any

import exponential_oracle as oracle
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from optlayers.cones import Exponential, Resolution
from optlayers.cones.exponential_rays import decompose

CONE = Exponential()

ROUNDING = 2.0**-52
"""The rounding of doubles. A projection sums a handful of numbers; D and its derivative some dozens of them."""

DIGITS = 60
"""For Pi, which is non-expansive: no digits are lost."""

DIFFERENCE_DIGITS = 240
"""For differences with steps of 1e-60: their error is the square of this times a third derivative, up to 1e60 here."""

SIZES = [(1.0, 1.0), (1e-3, 1.0), (1.0, 1e-3), (1e-9, 1.0), (1.0, 1e-9)]
"""|s| and |y|."""


def point(r: float, s_size: float, y_size: float) -> np.ndarray:
    """|y| d - |s| p with the unit rays at r, to the rounding of doubles."""
    with localcontext(prec=DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN):
        p, d = oracle.primal_ray(Decimal(r)), oracle.dual_ray(Decimal(r))
        s, y = Decimal(s_size) / oracle.norm(p), Decimal(y_size) / oracle.norm(d)
        return np.array([float(y * d_i - s * p_i) for p_i, d_i in zip(p, d, strict=True)])


def unit_rays(r: float) -> tuple[np.ndarray, np.ndarray]:
    return -point(r, 1, 0), point(r, 0, 1)


def nearest(v: np.ndarray) -> np.ndarray:
    with localcontext(prec=DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN):
        return np.array(oracle.project(oracle.exactly(v)), dtype=float)


def resolution(v: np.ndarray, dual: float, primal: float) -> Resolution:
    return Resolution(np.full_like(v, dual), np.full_like(v, primal))


def dense(v: np.ndarray, zero: Resolution | None = None) -> np.ndarray:
    D = CONE.derivative(np, v, zero)
    return np.stack([D.apply(np, np.broadcast_to(unit, v.shape)) for unit in np.eye(3)], axis=-1)


@pytest.mark.parametrize("r", [-35.0, -12.0, -3.0, -0.5, 0.0, 0.5, 1.0, 2.5, 9.0, 30.0])
def test_full_precision(r: float) -> None:
    """Pi, D and its derivative, as central differences of the oracle have them.

    The terms of the last are at most of the size 1/|y| and 1/|s|, and may cancel.
    """
    generator = np.random.default_rng(2)
    for s_size, y_size in SIZES:
        v = point(r, s_size, y_size)
        a, c, h = generator.standard_normal((3, 3))
        h = h / np.linalg.norm(h)
        y = nearest(v)
        with localcontext(prec=DIFFERENCE_DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN):

            def slope(place: oracle.Point, a: np.ndarray = a, c: np.ndarray = c) -> oracle.Point:
                return [oracle.dot(oracle.exactly(a), oracle.difference(oracle.project, place, oracle.exactly(c)))]

            Dc = np.array(oracle.difference(oracle.project, oracle.exactly(v), oracle.exactly(c)), dtype=float)
            bend = float(oracle.difference(slope, oracle.exactly(v), oracle.exactly(h))[0])
        message = f"|s| = {s_size}, |y| = {y_size}"
        tolerance = 4 * ROUNDING * np.linalg.norm(v)
        np.testing.assert_allclose(CONE.project_dual(np, v), y, atol=tolerance, rtol=0, err_msg=message)
        D = CONE.derivative(np, v)
        tolerance = 20 * ROUNDING * np.linalg.norm(c)
        np.testing.assert_allclose(D.apply(np, c), Dc, atol=tolerance, rtol=0, err_msg=message)
        gradient = CONE.second_derivative(np, v, a, c)
        terms = max(1 / s_size, 1 / y_size) * np.linalg.norm(a) * np.linalg.norm(c)
        tolerance = 50 * ROUNDING * max(np.linalg.norm(gradient), terms)
        np.testing.assert_allclose(gradient @ h, bend, atol=tolerance, rtol=0, err_msg=message)


@pytest.mark.parametrize("r", [100.0, 340.0, 700.0, 745.2, 1e3, 1e6, 1e12, 1e18])
@pytest.mark.parametrize("sign", [-1, 1])
def test_extreme_rays(r: float, sign: int) -> None:
    """Pi in full precision; D is the limit at the face, 1 along d and for r > 0 along c, but where y or s is tiny."""
    for s_size, y_size in SIZES:
        v = point(sign * r, s_size, y_size)
        tolerance = 4 * ROUNDING * np.linalg.norm(v)
        np.testing.assert_allclose(CONE.project_dual(np, v), nearest(v), atol=tolerance, rtol=0)
        D = CONE.derivative(np, v)
        np.testing.assert_allclose(D.eigenvalues, [1, 0, sign > 0], atol=1e-25, rtol=0)
        assert np.isfinite(CONE.second_derivative(np, v, np.ones(3), np.ones(3))).all()


def test_entries_of_many_sizes() -> None:
    """Where the oracle finds a ray, the projection is on it; elsewhere Moreau's conditions are in test_laws."""
    generator = np.random.default_rng(0)
    signs, sizes = generator.choice([-1, 1], (200, 3)), 10.0 ** generator.uniform(-15, 0, (200, 3))
    v = signs * sizes
    y = CONE.project_dual(np, v)
    outside = decompose(np, v, None).turned
    assert outside.sum() > 50
    for v_i, y_i in zip(v[outside], y[outside], strict=True):
        np.testing.assert_allclose(y_i, nearest(v_i), atol=4 * ROUNDING * np.abs(v_i).max(), rtol=0)


def test_moreau_at_hard_points() -> None:
    """y's = 0, Pi(y) = y and Pi(-s) = 0 to rounding: rays up to 2000, |s| / |y| and the entries of all sizes."""
    generator = np.random.default_rng(1)
    ratios, powers = 2000 * generator.uniform(-1, 1, 300) ** 3, generator.uniform(-16, 16, 300)
    v = np.array([point(r, min(1, 10**k), min(1, 10**-k)) for r, k in zip(ratios, powers, strict=True)])
    entries = generator.choice([-1, 1], (300, 3)) * 10.0 ** generator.uniform(-320, 0, (300, 3))
    entries[np.arange(300), generator.integers(0, 3, 300)] = generator.choice([-1, 1], 300)
    v = np.concatenate([v, entries])
    y, size = CONE.project_dual(np, v), np.linalg.norm(v, axis=-1)
    s = y - v
    assert (np.abs((y * s).sum(axis=-1)) <= 4 * ROUNDING * size**2).all()
    assert (np.linalg.norm(CONE.project_dual(np, y) - y, axis=-1) <= 4 * ROUNDING * size).all()
    assert (np.linalg.norm(CONE.project_dual(np, -s), axis=-1) <= 4 * ROUNDING * size).all()


@pytest.mark.parametrize("y_size", [0.5, 1e-9, 1e-15])
def test_a_small_projection_is_on_the_boundary(y_size: float) -> None:
    """y_3 = -y_1 exp(y_2 / y_1 - 1) to rounding of y, not of v; of y_2 / y_1 it is an absolute error."""
    ratios = np.linspace(-20, 5, 26)
    y = CONE.project_dual(np, np.array([point(r, 1, y_size) for r in ratios]))
    exponent = y[:, 1] / y[:, 0] - 1
    error = np.log(-y[:, 2] / y[:, 0]) - exponent
    assert (np.abs(error) <= 8 * ROUNDING * (1 + np.abs(exponent))).all()


@pytest.mark.parametrize(
    ("v", "y"),
    [
        ((-1.0, -2.0, 0.0), (-1.0, -1.0, 1.0)),  # d(0) - p(0)
        ((-3.0, -5.0, 1.0), (-3.0, -3.0, 3.0)),  # 3 d(0) - 2 p(0)
        ((-1.0, 0.0, np.exp(-1.0)), (-1.0, 0.0, np.exp(-1.0))),  # d(1)
        ((-2.0, -1.0, np.exp(-1.0) - np.e), (-1.0, 0.0, np.exp(-1.0))),  # d(1) - p(1)
        ((1.0, -1.0, -np.exp(-1.0)), (0.0, 0.0, 0.0)),  # -p(-1)
        ((-1.0, 3.0, 2.0), (-1.0, 3.0, 2.0)),  # in K*
        ((1.0, -1.0, -1.0), (0.0, 0.0, 0.0)),  # in -K
        ((2.0, 3.0, 4.0), (0.0, 3.0, 4.0)),  # on the face
        ((2.0, 3.0, -4.0), (0.0, 3.0, 0.0)),
        ((2.0, 0.0, -4.0), (0.0, 0.0, 0.0)),
        ((0.0, 0.0, 4.0), (0.0, 0.0, 4.0)),
        ((0.0, 3.0, 0.0), (0.0, 3.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ],
)
@pytest.mark.parametrize("scale", [1e-290, 1.0, 1e290])
def test_known_points(v: tuple[float, ...], y: tuple[float, ...], scale: float) -> None:
    computed = CONE.project_dual(np, scale * np.array(v)) / scale
    np.testing.assert_allclose(computed, y, atol=4 * ROUNDING * np.linalg.norm(v), rtol=0)


def test_derivative_at_a_known_point() -> None:
    """At r = 0: m_d = 2 and m_p = 3, and with v = B d(0) - A p(0) the last eigenvalue is 2 B / (2 B + 3 A)."""
    d, p = np.array([-1.0, -1.0, 1.0]), np.array([0.0, 1.0, 1.0])
    c = np.cross(d, p)
    for A, B in ((1.0, 1.0), (2.0, 0.25), (0.125, 4.0)):
        expected = np.outer(d, d) / 3 + 2 * B / (2 * B + 3 * A) * np.outer(c, c) / 6
        np.testing.assert_allclose(dense(B * d - A * p), expected, atol=4 * ROUNDING, rtol=0)


def test_small_eigenvalues() -> None:
    """The last eigenvalue is right to rounding times |v| / |y|, so that 1e-12 is not lost beside 1."""
    d, p = np.array([-1.0, -1.0, 1.0]), np.array([0.0, 1.0, 1.0])
    for power in range(4, 44, 4):
        B = 2.0**-power
        last = CONE.derivative(np, B * d - p).eigenvalues[-1]
        assert abs(last / (2 * B / (2 * B + 3)) - 1) <= 4 * ROUNDING / B
        last = CONE.derivative(np, d - B * p).complement(np).eigenvalues[-1]
        assert abs(last / (3 * B / (2 + 3 * B)) - 1) <= 4 * ROUNDING / B


@pytest.mark.parametrize(
    "crossing",
    [
        lambda t: np.array([t, 1.0, 0.5]),
        lambda t: np.array([t, 1.0, -0.5]),
        lambda t: np.array([1.0, t, 0.5]),
        lambda t: np.array([1.0, t, -0.5]),
        lambda t: np.array([1.0, 1.0, t]),
        lambda t: np.array([t, -t, 1.0]),
        lambda t: np.array([t, t, 1.0]),
        lambda t: np.array([t, -t, -1.0]),
        lambda t: np.array([t, t * t, 1.0]),
        lambda t: np.array([-0.01, 1.0, t]),
        lambda t: np.array([1.0, -0.01, t]),
        lambda t: np.array([-1.0, t, np.exp(-1)]),
        lambda t: np.array([t, -1.0, -1.0]),
    ],
)
def test_pieces_join(crossing: Callable[[float], np.ndarray]) -> None:
    """Pi is non-expansive on a line that crosses from one piece to another."""
    steps = np.concatenate([[0.0], *([10.0**-k, -(10.0**-k)] for k in range(2, 320, 6))])
    v = np.array([crossing(t) for t in np.sort(steps)])
    y = CONE.project_dual(np, v)
    moved, allowed = np.diff(y, axis=0), np.linalg.norm(np.diff(v, axis=0), axis=-1)
    assert (np.linalg.norm(moved, axis=-1) <= allowed + 4 * ROUNDING * np.linalg.norm(v, axis=-1)[:-1]).all()
    for part in (dense(v), CONE.second_derivative(np, v, np.ones_like(v), np.ones_like(v))):
        assert not np.isnan(part).any()


@pytest.mark.parametrize(
    ("v", "entries", "kink"),
    [
        ((1.0, 1.0, 1.0), (0, 1, 1), False),
        ((1.0, 1.0, -1.0), (0, 1, 0), False),
        ((-1.0, 5.0, 1.0), (1, 1, 1), False),
        ((1.0, -1.0, -1.0), (0, 0, 0), False),
        ((0.0, 1.0, 1.0), (0, 1, 1), True),
        ((0.0, 1.0, -1.0), (0, 1, 0), True),
        ((0.0, 1.0, 0.0), (0, 1, 0), True),
        ((1.0, 1.0, 0.0), (0, 1, 0), True),
        ((1.0, 0.0, 1.0), (0, 0, 1), True),
        ((1.0, 0.0, 0.0), (0, 0, 0), True),
        ((1.0, 0.0, -1.0), (0, 0, 0), True),
        ((0.0, 0.0, 1.0), (0, 0, 1), True),
        ((0.0, 0.0, -1.0), (0, 0, 0), True),
        ((0.0, 0.0, 0.0), (0, 0, 0), True),
    ],
)
def test_faces_and_their_edges(v: tuple[float, ...], entries: tuple[int, ...], kink: bool) -> None:
    """D is the same diagonal matrix for all points within the resolution."""
    generator = np.random.default_rng(0)
    moved = np.array(v) + 1e-10 * np.concatenate([np.zeros((1, 3)), generator.standard_normal((50, 3))])
    zero = resolution(moved, 1e-9, 1e-9)
    np.testing.assert_array_equal(CONE.kinks(np, moved, zero)[:, 0], kink)
    D = np.broadcast_to(np.diag(np.array(entries, dtype=float)), (51, 3, 3))
    np.testing.assert_array_equal(dense(moved, zero), D)


@pytest.mark.parametrize("r", [-5.0, -1.0, 0.0, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("distance", [0.5, 2.0])
@pytest.mark.parametrize("side", [-1, 1])
def test_boundaries_are_found_from_both_sides(r: float, distance: float, side: int) -> None:
    """At half the resolution, and not at twice: of a slack at K*, where D = I - p p', of y at -K, where D = 0."""
    p, d = unit_rays(r)
    width, other = 1e-7, 1e-13
    v = d + side * distance * width * p
    zero = resolution(v, other, width)
    assert CONE.kinks(np, v, zero).all() == (distance < 1)
    if distance < 1:
        np.testing.assert_allclose(dense(v, zero), np.eye(3) - np.outer(p, p), atol=100 * width, rtol=0)
    v = -p + side * distance * width * d
    zero = resolution(v, width, other)
    assert CONE.kinks(np, v, zero).all() == (distance < 1)
    if distance < 1:
        np.testing.assert_array_equal(dense(v, zero), np.zeros((3, 3)))


def test_all_of_a_small_point_is_slack() -> None:
    """D = 0 where the largest entry of v is within the resolution, whatever y is."""
    v = np.array([point(r, s_size, 1.2) for r in (-1.0, 0.0, 2.0) for s_size in (0.0, 1e-3, 1.0)])
    v = np.concatenate([v, np.random.default_rng(0).standard_normal((20, 3))])
    v = 1e-9 * v / np.abs(v).max(axis=-1)[:, None]
    zero = resolution(v, 1e-9, 1e-12)
    assert CONE.kinks(np, v, zero).all()
    np.testing.assert_array_equal(dense(v, zero), np.zeros((len(v), 3, 3)))


def test_second_derivative_on_the_boundary() -> None:
    """That of the curved piece, from which D is chosen, at a vanishing slack."""
    d, p = np.array([-1.0, -1.0, 1.0]), np.array([0.0, 1.0, 1.0])
    a, c = np.random.default_rng(0).standard_normal((2, 3))
    nearby = CONE.second_derivative(np, d - 1e-8 * p, a, c)
    np.testing.assert_allclose(CONE.second_derivative(np, d, a, c), nearby, atol=1e-7, rtol=0)
    assert np.linalg.norm(nearby) > 0.1


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_libraries_agree_on_extreme_rays(library: str) -> None:
    """With a fixed number of steps, as without branches on values."""
    xp: Any = {"torch": torch, "jax": jnp}[library]
    convert: Any = {"torch": torch.tensor, "jax": jnp.asarray}[library]
    v = np.array([point(sign * r, *sizes) for r in (0.1, 5, 40, 700, 1e6) for sign in (-1, 1) for sizes in SIZES])
    y, array = CONE.project_dual(np, v), convert(v)
    np.testing.assert_allclose(np.asarray(CONE.project_dual(xp, array)), y, atol=8 * ROUNDING, rtol=0)
    D = np.asarray(CONE.derivative(xp, array).apply(xp, convert(np.ones_like(v))))
    assert np.isfinite(D).all()


def test_single_precision_on_extreme_rays() -> None:
    xp: Any = torch
    v = np.array([point(r, *sizes) for r in (-1e3, -100, -40, 40, 100, 1e3) for sizes in SIZES[:3]])
    array = torch.tensor(v, dtype=torch.float32)
    y = CONE.project_dual(xp, array)
    assert y.dtype == torch.float32
    np.testing.assert_allclose(np.asarray(y), CONE.project_dual(np, v), atol=8 * 2.0**-23, rtol=0)
    assert torch.isfinite(CONE.derivative(xp, array).apply(xp, array)).all()
    assert torch.isfinite(CONE.second_derivative(xp, array, array, array)).all()


@pytest.mark.parametrize("mu", [1e-6, 0.1, 10.0])
def test_the_smoothed_projection_is_stationary(mu: float) -> None:
    """mu f'(y) + y - v = 0, f' by complex steps, which have no cancellation; s = -mu f'(y) gives y's = 3 mu."""
    v = np.random.default_rng(0).standard_normal((20, 3))
    y = CONE.smoothed(np, v, mu).y

    def barrier(y: np.ndarray) -> np.ndarray:
        u, v, w = y[..., 0], y[..., 1], y[..., 2]
        return -np.log(v - u - u * np.log(-w / u)) - np.log(-u) - np.log(w)

    # Rounding of y is multiplied by mu f''(y) <= |s|^2 / mu, as |s| |y - boundary| is about mu, and by |y| in y's.
    size = np.sqrt(mu) + np.linalg.norm(v, axis=-1)
    tolerance = 10 * ROUNDING * size**3 / mu
    residual = y - v
    for row, unit in enumerate(1e-100j * np.eye(3)):
        residual[:, row] += mu * barrier(y + unit).imag / 1e-100
    assert (np.linalg.norm(residual, axis=-1) <= tolerance).all()
    assert (np.abs((y * (y - v)).sum(axis=-1) - 3 * mu) <= tolerance * size).all()
