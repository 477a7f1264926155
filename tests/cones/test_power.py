"""The power cone against its definition in sixty digits, on its faces and kinks, and where it is another cone."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest

from optlayers.cones import Power, Resolution, SecondOrder

DIGITS = 60
"""The oracle's arithmetic: enough for second differences with steps of 1e-18."""

SMALLEST = Decimal("1e-57")
"""The bracket of a root that lies on a face, of the size of w."""

LAST = Decimal("1e-32")
"""A step of Newton's that is smaller than this part of the root leaves an error of its square."""

ROUNDING = 2.0**-52
"""The rounding of doubles. A projection sums a handful of numbers; D and its derivative some dozens of them."""

EXPONENTS = [(0.3, 0.7), (0.5, 0.5), (1e-3, 0.999), (0.2, 0.3, 0.5), (0.001, 0.009, 0.99), (0.125, 0.25, 0.25, 0.375)]
"""Where exponents of one sign sum to 1/2 their rounding over w is an error of the second derivative: those of four
entries, in which that happens, are exact numbers."""


def oracle(v: list[Decimal], exponents: list[Decimal]) -> list[Decimal]:
    """Pi(v) outside K* and -K: y_i = (u_i + S_i) / 2 on the boundary of K*, prod (y_i / a_i)^a_i = |y_w| = W - r.

    The root r is found by Newton's method within a bracket, with dy_i / dr = a_i (W - 2 r) / S_i.
    """
    *u, w = v
    W = abs(w)

    def parts(r: Decimal) -> tuple[list[Decimal], list[Decimal]]:
        squares = [4 * a * r * (W - r) for a in exponents]
        sizes = [(u_i * u_i + square).sqrt() for u_i, square in zip(u, squares, strict=True)]
        sums = zip(u, squares, sizes, strict=True)
        return [(u_i + S) / 2 if u_i > 0 else square / (2 * (S - u_i)) for u_i, square, S in sums], sizes

    low, high, r = Decimal(0), W, W / 2
    while high - low > SMALLEST * W:
        y, sizes = parts(r)
        excess = sum((a * (y_i / a).ln() for a, y_i in zip(exponents, y, strict=True)), Decimal(0)) - (W - r).ln()
        slopes = (a * a * (W - 2 * r) / (S * y_i) for a, y_i, S in zip(exponents, y, sizes, strict=True))
        step = excess / (sum(slopes, Decimal(0)) + 1 / (W - r))
        low, high = (low, r) if excess > 0 else (r, high)
        if abs(step) < LAST * min(r, W - r):
            r -= step
            break
        r = r - step if low < r - step < high else (low + high) / 2
    return [*parts(r)[0], (W - r).copy_sign(w)]


def exactly(numbers: np.ndarray | tuple[float, ...]) -> list[Decimal]:
    return [Decimal(float(number)) for number in numbers]


def exact_exponents(exponents: tuple[float, ...]) -> list[Decimal]:
    exact = exactly(exponents)
    return [a / sum(exact) for a in exact]


def difference(function: Callable[[list[Decimal]], list[Decimal]], v: list[Decimal], h: list[Decimal]) -> list[Decimal]:
    step = Decimal("1e-18") * max(map(abs, v))
    ahead = function([v_i + step * h_i for v_i, h_i in zip(v, h, strict=True)])
    behind = function([v_i - step * h_i for v_i, h_i in zip(v, h, strict=True)])
    return [(front - back) / (2 * step) for front, back in zip(ahead, behind, strict=True)]


def second_difference(
    v: list[Decimal], exponents: list[Decimal], a: np.ndarray, c: np.ndarray, h: np.ndarray
) -> Decimal:
    """The derivative of <a, D(v) c> along h."""

    def slope(point: list[Decimal]) -> list[Decimal]:
        Dc = difference(lambda moved: oracle(moved, exponents), point, exactly(c))
        return [sum((a_i * D_i for a_i, D_i in zip(exactly(a), Dc, strict=True)), Decimal(0))]

    return difference(slope, v, exactly(h))[0]


def difficult_points(exponents: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Points outside K* and -K: near their boundaries, near the faces, of entries of many sizes."""
    generator, a = np.random.default_rng(1), np.array(exponents)
    generic = generator.standard_normal(a.size + 1)
    generic[0], generic[1] = -abs(generic[0]), abs(generic[1])
    points = {"generic": generic, "opposite": -generic}
    u = generator.uniform(0.2, 2, a.size)
    dual, primal = np.prod((u / a) ** a), np.prod(u**a)
    for distance in (1e-3, 1e-7, 1e-11):
        points[f"{distance} from the boundary of K*"] = np.array([*u, dual * (1 + distance)])
        points[f"{distance} from the boundary of -K"] = np.array([*-u, -primal * (1 + distance)])
    for w in (1e-4, 1e-9):
        points[f"w = {w}"] = np.array([*generic[:-1], w])
        points[f"opposite, w = {w}"] = np.array([*-generic[:-1], w])
    points["small u"] = generic * np.array([*10.0 ** generator.uniform(-12, -3, a.size), 1])
    return points


@pytest.mark.parametrize("exponents", EXPONENTS, ids=str)
def test_full_precision(exponents: tuple[float, ...]) -> None:
    """Pi, D and its derivative, as central differences in sixty digits have them."""
    cone = Power(exponents)
    generator = np.random.default_rng(2)
    for place, v in difficult_points(exponents).items():
        a, c, h = generator.standard_normal((3, cone.size))
        with localcontext(prec=DIGITS):
            precise, weights = exactly(v), exact_exponents(exponents)

            def project(point: list[Decimal], weights: list[Decimal] = weights) -> list[Decimal]:
                return oracle(point, weights)

            y = np.array(project(precise), dtype=float)
            Dc = np.array(difference(project, precise, exactly(c)), dtype=float)
            bend = float(second_difference(precise, weights, a, c, h))
        size = np.linalg.norm(v)
        np.testing.assert_allclose(cone.project_dual(np, v), y, atol=4 * ROUNDING * size, rtol=0, err_msg=place)
        D = cone.derivative(np, v)
        tolerance = 50 * ROUNDING * np.linalg.norm(c)
        np.testing.assert_allclose(D.apply(np, c), Dc, atol=tolerance, rtol=0, err_msg=place)
        assert (D.eigenvalues.min(), D.eigenvalues.max()) == (0, 1), "along s and y"
        gradient = cone.second_derivative(np, v, a, c)
        rounding = 200 * ROUNDING * max(np.linalg.norm(gradient), 1 / size)
        scale = np.linalg.norm(a) * np.linalg.norm(c) * np.linalg.norm(h)
        np.testing.assert_allclose(gradient @ h, bend, atol=rounding * scale, rtol=0, err_msg=place)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_one_exponent_is_a_second_order_cone(scale: float) -> None:
    """K = {u >= |w|} = K*, polyhedral, with the barrier -log(u^2 - w^2), which is twice that of the other."""
    v, a, c = np.random.default_rng(0).standard_normal((3, 50, 2))
    power, second_order, mu = Power((1.0,)), SecondOrder(2), 0.1 * scale**2
    v = scale * v
    ours, theirs = power.smoothed(np, v, mu / 2), second_order.smoothed(np, v, mu)
    pairs = [
        (power.project_dual(np, v) / scale, second_order.project_dual(np, v) / scale),
        (power.derivative(np, v).apply(np, a), second_order.derivative(np, v).apply(np, a)),
        (ours.y / scale, theirs.y / scale),
        (ours.derivative.apply(np, a), theirs.derivative.apply(np, a)),
    ]
    for actual, expected in pairs:
        np.testing.assert_allclose(actual, expected, atol=50 * ROUNDING, rtol=0)
    bend = power.second_derivative(np, v, a, c)
    nearest_kink = np.abs(np.abs(v[:, 0]) - np.abs(v[:, 1]))[:, None]
    sizes = np.linalg.norm(a, axis=-1) * np.linalg.norm(c, axis=-1)
    assert (np.abs(bend) <= 50 * ROUNDING * sizes[:, None] / nearest_kink).all()


def test_two_equal_exponents_are_a_skewed_second_order_cone() -> None:
    """2 sqrt(u_1 u_2) >= |w| is |(u_1 - u_2, w)| <= u_1 + u_2, and sqrt(u_1 u_2) >= |w| likewise with 2w."""
    v = np.random.default_rng(0).standard_normal((100, 3))
    y = Power((0.5, 0.5)).project_dual(np, v)
    s = y - v
    tolerance = 8 * ROUNDING * np.linalg.norm(v, axis=-1)
    assert (np.hypot(y[:, 0] - y[:, 1], y[:, 2]) <= y[:, 0] + y[:, 1] + tolerance).all()
    assert (np.hypot(s[:, 0] - s[:, 1], 2 * s[:, 2]) <= s[:, 0] + s[:, 1] + tolerance).all()
    assert (np.abs((y * s).sum(axis=-1)) <= tolerance * np.linalg.norm(v, axis=-1)).all()


@pytest.mark.parametrize(
    ("exponents", "u", "slope"),
    [
        ((0.3, 0.7), (-1.0, 2.0), 1.0),
        ((0.7, 0.3), (-1.0, 2.0), 0.0),
        ((0.2, 0.3, 0.5), (-1.0, -0.5, 1.0), None),
        ((0.5, 0.5), (-3.0, 1.0), None),
        ((0.1, 0.3, 0.6), (-1.0, -0.5, 1.0), 1.0),
        ((0.2, 0.4, 0.4), (-1.0, -0.5, 1.0), 0.0),
    ],
)
def test_faces_where_w_is_zero(exponents: tuple[float, ...], u: tuple[float, ...], slope: float | None) -> None:
    """The slope of y_w by w depends on the exponents of the negative entries: less than 1/2, more, or just that."""
    cone = Power(exponents)
    v = np.array([*u, 0.0])
    np.testing.assert_array_equal(cone.project_dual(np, v), np.maximum(v, 0))
    zero = Resolution(np.full_like(v, 1e-9), np.full_like(v, 1e-9))
    assert not cone.kinks(np, v, zero).any()
    D = cone.derivative(np, v, zero)
    np.testing.assert_array_equal(D.apply(np, np.array([*np.ones_like(u), 0.0])), [*(np.array(u) > 0), 0.0])
    step = Decimal("1e-30")
    with localcontext(prec=DIGITS):
        moved = float(oracle([*exactly(u), step], exact_exponents(exponents))[-1] / step)
    # r / w is of the order of w^((P - N) / N), for negative exponents of sum N and positive ones of sum P: 1e-15 here.
    along_w = D.apply(np, np.eye(cone.size)[-1])[-1]
    assert abs(along_w - moved) <= 1e-9
    assert along_w == slope if slope is not None else 0.1 < along_w < 0.9


@pytest.mark.parametrize(
    ("exponents", "v"),
    [
        ((0.5, 0.5), (-3.0, 1.0, 0.0)),
        ((0.5, 0.5), (2.0, -0.5, 0.0)),
        ((0.25, 0.25, 0.5), (-1.0, -0.5, 2.0, 0.0)),
        ((0.125, 0.25, 0.25, 0.375), (1.0, -0.5, -2.0, 0.3, 0.0)),
        ((0.25, 0.75), (-3.0, 1.0, 0.0)),
        ((0.75, 0.25), (-3.0, 1.0, 0.0)),
    ],
)
def test_second_derivative_on_faces(exponents: tuple[float, ...], v: tuple[float, ...]) -> None:
    """The slope along w depends on u where the exponents of the negative entries sum to 1/2, and on nothing else.

    Where they sum to 1/4 or 3/4, the second derivative of w^3, about 1e-18 here, is what remains of it at w = 1e-18.
    """
    cone, point = Power(exponents), np.array(v)
    a, c, h = np.random.default_rng(3).standard_normal((3, cone.size))
    with localcontext(prec=DIGITS):
        expected = float(second_difference(exactly(point), exact_exponents(exponents), a, c, h))
    actual = cone.second_derivative(np, point, a, c) @ h
    scale = np.linalg.norm(a) * np.linalg.norm(c) * np.linalg.norm(h)
    assert abs(actual - expected) <= 20 * ROUNDING * scale
    assert (abs(expected) > 1e-4) == (0.5 in exponents or len(v) == 5)


@pytest.mark.parametrize(
    ("exponents", "v"),
    [
        ((0.5, 0.5), (1.0, 1.0, 2.0)),
        ((0.5, 0.5), (2.0, 0.5, -2.0)),
        ((0.25, 0.25, 0.5), (0.25, 0.25, 0.5, 1.0)),
    ],
)
def test_second_derivative_on_the_boundary_is_that_of_the_outside(
    exponents: tuple[float, ...], v: tuple[float, ...]
) -> None:
    """D is chosen from the curved piece there; a point 1e-14 outside has it to 1e-14 times a third derivative."""
    cone, point = Power(exponents), np.array(v)
    a, c, h = np.random.default_rng(3).standard_normal((3, cone.size))
    with localcontext(prec=DIGITS):
        outside = [*exactly(point[:-1]), Decimal(v[-1]) * (1 + Decimal("1e-14"))]
        expected = float(second_difference(outside, exact_exponents(exponents), a, c, h))
    assert abs(cone.second_derivative(np, point, a, c) @ h - expected) <= 1e-12
    assert abs(expected) > 1e-3


@pytest.mark.parametrize("w", [0.0, 1e-13, 1e-11, 1e-9, 1e-7])
def test_small_w_inside_is_no_kink(w: float) -> None:
    """The boundary is far from (u, w), in whatever direction, although p(u) / |w| and its slope are large."""
    v = np.array([1.0, 1.0, w])
    zero = Resolution(np.full(3, 1e-9), np.full(3, 1e-9))
    cone = Power((0.3, 0.7))
    assert not cone.kinks(np, v, zero).any()
    assert not cone.kinks(np, -v, zero).any()
    np.testing.assert_array_equal(cone.derivative(np, v, zero).apply(np, v), v)
    np.testing.assert_array_equal(cone.derivative(np, -v, zero).apply(np, v), 0 * v)


@pytest.mark.parametrize(
    ("exponents", "v", "entries"),
    [
        ((0.3, 0.7), (1.0, 0.0, 0.0), (1, 0, 0)),
        ((0.3, 0.7), (0.0, 1.0, 0.0), (0, 1, 1)),
        ((0.3, 0.7), (-1.0, 0.0, 0.0), (0, 0, 0)),
        ((0.2, 0.3, 0.5), (-1.0, 0.0, 2.0, 0.0), (0, 0, 1, None)),
        ((0.1, 0.3, 0.6), (1.0, 0.0, -2.0, 0.0), (1, 0, 0, 0)),
        ((0.1, 0.3, 0.6), (1.0, 0.0, 2.0, 0.0), (1, 0, 1, 1)),
        ((0.3, 0.7), (0.0, 0.0, 0.0), (0, 0, 0)),
    ],
)
def test_edges_of_the_faces_are_kinks(
    exponents: tuple[float, ...], v: tuple[float, ...], entries: tuple[int | None, ...]
) -> None:
    """Where w and some u_i are zero the choice is u_i negative; it stands while v moves within the resolution."""
    cone, point = Power(exponents), np.array(v)
    zero = Resolution(np.full_like(point, 1e-9), np.full_like(point, 1e-9))
    generator = np.random.default_rng(0)
    for moved in (point, *(point + 1e-10 * generator.standard_normal((20, cone.size)))):
        assert cone.kinks(np, moved, zero).all()
        D = cone.derivative(np, moved, zero)
        for row, entry in enumerate(entries):
            unit = np.eye(cone.size)[row]
            column = D.apply(np, unit)
            if entry is None:
                assert 0 < column[row] < 1
            else:
                np.testing.assert_array_equal(column, entry * unit)


@pytest.mark.parametrize("exponents", [(0.3, 0.7), (0.2, 0.3, 0.5)])
def test_boundaries_are_found_from_both_sides(exponents: tuple[float, ...]) -> None:
    """At a distance of half the resolution, and not at twice: along the normal of the boundary at y."""
    cone, a = Power(exponents), np.array(exponents)
    generator = np.random.default_rng(0)
    u = generator.uniform(0.2, 2, (20, a.size))
    resolution = 1e-6
    for units in (a, np.ones_like(a)):
        mean = np.prod((u / units) ** a, axis=-1)[:, None]
        boundary = np.concatenate([u, mean], axis=-1)
        normal = np.concatenate([a * mean / u, -np.ones_like(mean)], axis=-1)
        normal /= np.linalg.norm(normal, axis=-1)[:, None]
        sign = 1 if units is a else -1
        for side in (-1, 1):
            for distance, found in ((0.5, True), (2.0, False)):
                v = sign * (boundary + side * distance * resolution * normal)
                zero = Resolution(np.full_like(v, resolution), np.full_like(v, resolution))
                assert (cone.kinks(np, v, zero) == found).all()
                if found:
                    D = cone.derivative(np, v, zero)
                    plane = np.eye(cone.size) - normal[:, :, None] * normal[:, None, :] if units is a else 0
                    columns = [D.apply(np, np.broadcast_to(unit, v.shape)) for unit in np.eye(cone.size)]
                    expected = np.broadcast_to(plane, (*v.shape, cone.size))
                    np.testing.assert_allclose(np.stack(columns, axis=-1), expected, atol=20 * resolution, rtol=0)


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
    assert (np.abs((y * s).sum(axis=-1)) <= 20 * ROUNDING * size**2).all()
    u = rng.uniform(0, 1, (2000, len(a))) ** 4
    sign = rng.choice([-1.0, 1.0], 2000)
    primal = np.column_stack([u, sign * np.prod(u**a, axis=-1)])
    dual = np.column_stack([u, sign * np.prod((u / a) ** a, axis=-1)])
    for point, members in ((y, primal), (s, dual)):
        products = point @ members.T / np.linalg.norm(members, axis=-1)
        assert (products >= -20 * ROUNDING * size[:, None]).all()


@pytest.mark.parametrize("exponents", [(0.3, 0.7), (1e-3, 0.999), (0.2, 0.3, 0.5)])
def test_the_smoothed_projection_is_stationary(exponents: tuple[float, ...]) -> None:
    """mu f'(y) + y - v = 0, f' by central differences: their step squared, and rounding over it, are below 1e-9."""
    cone, a, mu, step = Power(exponents), np.array(exponents), 0.1, 1e-5
    v = np.random.default_rng(0).standard_normal((20, cone.size))
    y = cone.smoothed(np, v, mu).y

    def barrier(y: np.ndarray) -> np.ndarray:
        u, w = y[..., :-1], y[..., -1]
        return -np.log(np.prod((u / a) ** (2 * a), axis=-1) - w**2) - ((1 - a) * np.log(u)).sum(axis=-1)

    for row, unit in enumerate(step * np.eye(cone.size)):
        slope = (barrier(y + unit) - barrier(y - unit)) / (2 * step)
        np.testing.assert_allclose(mu * slope, v[:, row] - y[:, row], atol=1e-7, rtol=0)


@pytest.mark.parametrize("exponents", [(), (0.5, 0.6), (1.5, -0.5), (0.0, 1.0), (float("nan"), 0.5)])
def test_exponents_must_be_positive_and_sum_to_one(exponents: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="exponents of a power cone") as error:
        Power(exponents)
    assert str(exponents) in str(error.value)


def test_rounding_of_the_exponents_is_taken_off() -> None:
    """(0.1,) * 10 sums to 1 - 1e-16: y and s are orthogonal nevertheless."""
    cone = Power((0.1,) * 10)
    v = np.random.default_rng(0).standard_normal((20, cone.size))
    y = cone.project_dual(np, v)
    np.testing.assert_allclose((y * (y - v)).sum(axis=-1), 0, atol=20 * ROUNDING * cone.size)
