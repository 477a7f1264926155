"""The power cone: its faces, extreme exponents, and the second-order cone that it is for equal ones."""

from __future__ import annotations

import numpy as np
import pytest

from optlayers.cones import Power, SecondOrder


@pytest.mark.parametrize(
    ("exponents", "u", "slope"),
    [
        ((0.3, 0.7), (-1.0, 2.0), 1.0),
        ((0.7, 0.3), (-1.0, 2.0), 0.0),
        ((0.2, 0.3, 0.5), (-1.0, -0.5, 1.0), None),
        ((0.1, 0.3, 0.6), (-1.0, -0.5, 1.0), 1.0),
        ((0.2, 0.4, 0.4), (-1.0, -0.5, 1.0), 0.0),
    ],
)
def test_faces_where_w_is_zero(exponents: tuple[float, ...], u: tuple[float, ...], slope: float | None) -> None:
    """The slope of y_w by w depends on the exponents of the negative entries: less than 1/2, more, or just that."""
    cone = Power(exponents)
    v = np.array([*u, 0.0])
    np.testing.assert_array_equal(cone.project_dual(np, v), np.maximum(v, 0))
    step = np.zeros_like(v)
    step[-1] = 1e-9
    moved = (cone.project_dual(np, v + step) - cone.project_dual(np, v - step)) / 2e-9
    D = cone.derivative(np, v).apply(np, step / 1e-9)
    np.testing.assert_allclose(D, moved, atol=1e-3)
    if slope is not None:
        assert D[-1] == slope
    else:
        assert 0.1 < D[-1] < 0.9


@pytest.mark.parametrize("seed", range(5))
def test_equal_exponents_are_a_second_order_cone(seed: int) -> None:
    """sqrt(u_1 u_2) >= |w| is |((u_1 - u_2)/2, w)| <= (u_1 + u_2)/2; an orthogonal map but for the scale of w."""
    rng = np.random.default_rng(seed)
    u, w = rng.standard_normal(2), rng.standard_normal()
    # K* of Power((1/2, 1/2)) is 2 sqrt(u_1 u_2) >= |w|, so with rows rotated: t >= |(z, w)| scaled by sqrt 2.
    rotation = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    y = Power((0.5, 0.5)).project_dual(np, np.array([*u, w]))
    # A point of K*: (u_1 + u_2)/sqrt 2 >= |((u_1 - u_2)/sqrt 2, w/sqrt 2)|; nearest by the variational inequality.
    t, z = rotation @ y[:2]
    assert t >= np.hypot(z, y[2] / np.sqrt(2)) - 1e-14
    gap = np.array([*u, w]) - y
    for _ in range(200):
        direction = rng.standard_normal(2)
        ray = np.array([np.linalg.norm(direction), *direction])
        member = np.array([*(rotation @ ray[:2]), np.sqrt(2) * ray[2]])
        assert gap @ member <= 1e-12
    assert abs(gap @ y) <= 1e-14
    assert SecondOrder(3).size == 3


@pytest.mark.parametrize("exponents", [(1e-3, 0.999), (0.999, 1e-3), (0.001, 0.009, 0.99), (1.0,)])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_extreme_exponents_and_scales(exponents: tuple[float, ...], scale: float) -> None:
    """Moreau's identity, with membership seen by the members of the other cone."""
    cone, a = Power(exponents), np.array(exponents)
    rng = np.random.default_rng(0)
    v = scale * rng.standard_normal((50, cone.size))
    y = cone.project_dual(np, v)
    s = y - v
    size = np.linalg.norm(v, axis=-1)
    assert (np.abs((y * s).sum(axis=-1)) <= 1e-14 * size**2).all()
    u = rng.uniform(0, 1, (2000, len(a))) ** 4
    sign = rng.choice([-1.0, 1.0], 2000)
    primal = np.column_stack([u, sign * np.prod(u**a, axis=-1)])
    dual = np.column_stack([u, sign * np.prod((u / a) ** a, axis=-1)])
    for point, members in ((y, primal), (s, dual)):
        products = point @ members.T / np.linalg.norm(members, axis=-1)
        assert (products >= -1e-13 * size[:, None]).all()


@pytest.mark.parametrize("exponents", [(), (0.5, 0.6), (1.5, -0.5), (0.0, 1.0)])
def test_exponents_must_be_positive_and_sum_to_one(exponents: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="exponents of a power cone"):
        Power(exponents)
