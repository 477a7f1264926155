"""What is particular to the second-order and the semidefinite cone, and to duals: order, scale, kinks, barriers."""

from __future__ import annotations

import numpy as np
import pytest

from optlayers.cones import Dual, Nonnegative, Resolution, SecondOrder, Semidefinite
from optlayers.cones.triangle import lower_from_upper, to_matrix, to_vector, upper_triangle

EPSILON = np.finfo(float).eps


def identity_image(cone, v: np.ndarray, zero: Resolution | None = None) -> np.ndarray:
    """The matrix D at one point."""
    D = cone.derivative(np, v, zero)
    return np.stack([D.apply(np, unit) for unit in np.eye(len(v))], axis=-1)


def width(v: np.ndarray, dual: float, primal: float) -> Resolution:
    return Resolution(np.full_like(v, dual), np.full_like(v, primal))


def random_orthogonal(order: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(1).standard_normal((order, order)))[0]


def with_eigenvalues(*eigenvalues: float) -> np.ndarray:
    U = random_orthogonal(len(eigenvalues))
    return to_vector(np, U * np.array(eigenvalues) @ U.T)


def test_the_triangle_is_listed_by_columns() -> None:
    rows, columns = upper_triangle(3)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2)]
    X = np.array([[1.0, 2, 4], [2, 3, 5], [4, 5, 6]])
    root = np.sqrt(2)
    np.testing.assert_allclose(to_vector(np, X), [1, 2 * root, 3, 4 * root, 5 * root, 6], rtol=2 * EPSILON)
    lower = [X[i, j] * (1 if i == j else root) for j in range(3) for i in range(j, 3)]
    np.testing.assert_allclose(to_vector(np, X)[lower_from_upper(3)], lower, rtol=2 * EPSILON)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_the_vector_of_a_matrix_keeps_inner_products(order: int) -> None:
    X, Y = np.random.default_rng(0).standard_normal((2, 3, order, order))
    X, Y = X + np.swapaxes(X, 1, 2), Y + np.swapaxes(Y, 1, 2)
    inner = (to_vector(np, X) * to_vector(np, Y)).sum(axis=-1)
    np.testing.assert_allclose(inner, np.trace(X @ Y, axis1=1, axis2=2), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(to_matrix(np, to_vector(np, X), order), X, rtol=2 * EPSILON)


@pytest.mark.parametrize("scale", [1e-150, 1e-9, 1.0, 1e9, 1e150])
def test_second_order_norms_neither_overflow_nor_underflow(scale: float) -> None:
    v = np.random.default_rng(0).standard_normal((20, 6))
    cone = SecondOrder(6)
    np.testing.assert_allclose(
        cone.project_dual(np, scale * v) / scale, cone.project_dual(np, v), rtol=0, atol=20 * EPSILON
    )
    ours, expected = cone.derivative(np, scale * v), cone.derivative(np, v)
    for part in ("weight", "one", "null"):
        np.testing.assert_allclose(getattr(ours, part), getattr(expected, part), rtol=0, atol=20 * EPSILON)


def test_a_large_second_order_cone() -> None:
    cone = SecondOrder(2000)
    v, h = np.random.default_rng(0).standard_normal((2, 3, 2000))
    z = v[:, 1:] / np.linalg.norm(v[:, 1:], axis=1, keepdims=True)
    t = v[:, :1] / np.linalg.norm(v[:, 1:], axis=1, keepdims=True)
    along = (z * h[:, 1:]).sum(axis=1, keepdims=True)
    expected = np.concatenate([h[:, :1] + along, h[:, :1] * z + (1 + t) * h[:, 1:] - t * along * z], axis=1) / 2
    np.testing.assert_allclose(cone.derivative(np, v).apply(np, h), expected, rtol=0, atol=1e-13)


def test_the_weight_keeps_its_digits_near_the_polar_boundary() -> None:
    """(t + |z|) / (2 |z|) at t = -|z| (1 - 2^-40); the norm of z is exact, so that every digit can be."""
    z = np.array([3.0, 4.0]) * 2.0**-7
    v = np.array([-5 * 2.0**-7 * (1 - 2.0**-40), *z])
    assert SecondOrder(3).derivative(np, v).weight == 2.0**-41


def test_second_order_kinks() -> None:
    """t = |z| is outside with weight 1, t = -|z| and the apex have D = 0."""
    cone = SecondOrder(3)
    up = cone.derivative(np, np.array([5.0, 3, 4]))
    assert up.weight == 1
    np.testing.assert_allclose(up.null, np.array([1, -0.6, -0.8]) / np.sqrt(2), rtol=4 * EPSILON)
    for v in (np.array([-5.0, 3, 4]), np.zeros(3)):
        assert not identity_image(cone, v).any()
    inside, across = np.array([5.0, 0, 0]), np.array([0.0, 3, 4])
    np.testing.assert_array_equal(identity_image(cone, inside), np.eye(3))
    assert cone.derivative(np, across).weight == 0.5


@pytest.mark.parametrize("shift", [-0.9e-6, 0.9e-6])
def test_a_resolution_decides_the_side(shift: float) -> None:
    """A spectral value within the resolution is slack; beyond it, it has its own sign."""
    cone = SecondOrder(3)
    v = np.array([5 + shift, 3, 4])
    exact = identity_image(cone, np.array([5.0, 3, 4]))
    np.testing.assert_allclose(identity_image(cone, v, width(v, 1e-6, 1e-6)), exact, rtol=0, atol=4 * EPSILON)
    assert cone.kinks(np, v, width(v, 1e-6, 1e-6)).tolist() == [False, True]
    narrow = width(v, 1e-7, 1e-7)
    assert not cone.kinks(np, v, narrow).any()
    np.testing.assert_array_equal(identity_image(cone, v, narrow), identity_image(cone, v))
    only_own_side = width(v, 1e-6 if shift < 0 else 0, 1e-6 if shift > 0 else 0)
    assert not cone.kinks(np, v, only_own_side).any()


@pytest.mark.parametrize("noise", [-1e-12, 0.0, 1e-12])
def test_semidefinite_kinks(noise: float) -> None:
    """Eigenvalues 2, 0, -1 with a resolution: E_ij = 1, 1, 2/3 against 2 and 0 elsewhere."""
    cone = Semidefinite(3)
    v = with_eigenvalues(2, noise, -1)
    zero = width(v, 1e-9, 1e-9)
    assert cone.kinks(np, v, zero).tolist() == [False, True, False]
    D = cone.derivative(np, v, zero)
    expected = [0, 0, 0, 2 / 3, 1, 1]  # eigenvalues ascending: -1, 0, 2
    np.testing.assert_allclose(D.eigenvalues, expected, rtol=0, atol=10 * EPSILON)
    assert not identity_image(cone, np.zeros(6)).any()


def test_the_dual_of_a_cone_counts_what_is_zero_as_multiplier() -> None:
    v = np.array([1e-3, -1e-3, 1.0, -1.0])
    zero = Resolution(dual=np.full(4, 1e-4), primal=np.full(4, 1e-2))
    np.testing.assert_array_equal(Nonnegative(4).derivative(np, v, zero).entries, [1, 0, 1, 0])
    np.testing.assert_array_equal(Dual(Nonnegative(4)).derivative(np, v, zero).entries, [1, 1, 1, 0])
    for cone in (Nonnegative(4), Dual(Nonnegative(4))):
        np.testing.assert_array_equal(cone.kinks(np, v, zero), [False, True, False, False])
    for cone in (SecondOrder(3), Semidefinite(2), Nonnegative(3)):
        np.testing.assert_array_equal(identity_image(Dual(cone), np.zeros(3)), np.eye(3))


@pytest.mark.parametrize(
    "eigenvalues", [(2, 2, -1, -1), (1, 1, 1, -3), (2, 1, -1, -1), (1, 1 + 1e-9, -2, -2 - 1e-9), (3, 1, 1, 1)]
)
def test_repeated_eigenvalues_of_one_sign(eigenvalues: tuple[float, ...]) -> None:
    """First and second derivative against differences of the projection; equal eigenvalues of one sign are no kink."""
    cone, step = Semidefinite(4), 1e-5
    v = with_eigenvalues(*eigenvalues)
    a, c, h = np.random.default_rng(3).standard_normal((3, cone.size))
    slope = (cone.project_dual(np, v + step * h) - cone.project_dual(np, v - step * h)) / (2 * step)
    np.testing.assert_allclose(cone.derivative(np, v).apply(np, h), slope, rtol=0, atol=1e-8)
    ahead, behind = (a @ cone.derivative(np, v + side * step * h).apply(np, c) for side in (1, -1))
    second = cone.second_derivative(np, v, a, c) @ h
    np.testing.assert_allclose(second, (ahead - behind) / (2 * step), rtol=1e-8, atol=1e-8)


def test_second_derivative_beside_zero_eigenvalues() -> None:
    """Between eigenvalues 2 > 0 and two that are zero from below, it is the limit of the strictly negative ones."""
    cone = Semidefinite(3)
    a, c = np.random.default_rng(3).standard_normal((2, cone.size))
    exact, limit = (to_vector(np, np.diag([2.0, -tail, -tail])) for tail in (0.0, 1e-9))
    difference = cone.second_derivative(np, exact, a, c) - cone.second_derivative(np, limit, a, c)
    assert np.abs(difference).max() <= 1e-7


@pytest.mark.parametrize("mu", [1e-6, 0.1, 10.0])
def test_smoothing_is_the_barrier_s(mu: float) -> None:
    """y - v + mu f'(y) = 0 for f = -1/2 log(t^2 - |z|^2), and for f = -log det."""
    generator = np.random.default_rng(0)
    v = generator.standard_normal((10, 4))
    y = SecondOrder(4).smoothed(np, v, mu).y
    t, z = y[:, :1], y[:, 1:]
    gradient = -np.concatenate([t, -z], axis=1) / (t**2 - (z**2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(y - v + mu * gradient, 0, atol=1e-8)

    v = generator.standard_normal((10, 6))
    y = Semidefinite(3).smoothed(np, v, mu).y
    gradient = -to_vector(np, np.linalg.inv(to_matrix(np, y, 3)))
    np.testing.assert_allclose(y - v + mu * gradient, 0, atol=1e-8)


def test_smoothed_second_order_at_the_axis() -> None:
    """Where z = 0 both spectral values are t, and D is a multiple of I."""
    v = np.array([[-1.0, 0, 0, 0], [2.0, 0, 0, 0]])
    smoothed = SecondOrder(4).smoothed(np, v, 0.1)
    t = Nonnegative(1).smoothed(np, v[:, :1], 0.1)
    np.testing.assert_allclose(smoothed.y, np.concatenate([t.y, np.zeros((2, 3))], axis=1), rtol=4 * EPSILON)
    h = np.random.default_rng(0).standard_normal((2, 4))
    expected = t.derivative.apply(np, np.ones((2, 1))) * h
    np.testing.assert_allclose(smoothed.derivative.apply(np, h), expected, rtol=1e-14, atol=1e-15)
