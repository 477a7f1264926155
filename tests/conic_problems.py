"""Named families of conic problems, with regular values and with degenerate ones.

Regular is said in `problems`: for curved cones, v = y - s is off every kink of the projection by a margin. A degenerate
instance has the same problem and other values, at which the solution is on a kink, not unique, or its multipliers are
not. Where `differentiable`, the solution is differentiable all the same; elsewhere a derivative must be reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import cvxpy as cp
import numpy as np
from problems import Family, Instance, regression_data


@final
@dataclass(frozen=True)
class ConicFamily:
    """A family with the cones that arise in it, by their class names, and its degenerate instance.

    degenerate: the values at which the solution is degenerate; what: in which way;
    unique: whether x is unique there.
    """

    family: Family
    cones: frozenset[str]
    degenerate: Callable[[np.random.Generator, int], tuple[np.ndarray, ...]]
    what: str
    differentiable: bool
    unique: bool = True


SOC, PSD, EXP, POW = (frozenset({name}) for name in ("SecondOrder", "Semidefinite", "Exponential", "Power"))


def _norm_constrained(rng: np.random.Generator, n: int) -> Instance:
    """Minimise |A x - b|^2 subject to |x| <= t: a quadratic objective with a second-order cone."""
    x, A, b, t = cp.Variable(n), cp.Parameter((2 * n, n)), cp.Parameter(2 * n), cp.Parameter(nonneg=True)
    ball = cp.norm(x) <= t
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [ball])
    return Instance(problem, (A, b, t), (x, ball), (*regression_data(rng, 2 * n, n, noise=0.5), np.array(1.2)))


def _norm_constrained_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    A, b = regression_data(rng, 2 * n, n, noise=0.5)
    return A, b, np.array(np.linalg.norm(np.linalg.lstsq(A, b)[0]))


def _robust_least_squares(rng: np.random.Generator, n: int) -> Instance:
    """Minimise |A x - b| + w |x|: the largest |(A + E) x - b| over all E of norm w (El Ghaoui and Lebret, 1997)."""
    x, A, b, w = cp.Variable(n), cp.Parameter((2 * n, n)), cp.Parameter(2 * n), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.norm(A @ x - b) + w * cp.norm(x)))
    return Instance(problem, (A, b, w), (x,), (*regression_data(rng, 2 * n, n, noise=0.5), np.array(0.2)))


def _robust_least_squares_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """x = 0 is a solution as long as w >= |A'b| / |b|; here they are equal."""
    A, b = regression_data(rng, 2 * n, n, noise=0.5)
    return A, b, np.array(np.linalg.norm(A.T @ b) / np.linalg.norm(b))


def _robust_lp(rng: np.random.Generator, n: int) -> Instance:
    """Minimise c'x subject to a_i'x + |P_i'x| <= b_i: rows known up to ellipsoids."""
    m = 2 * n
    x, c, A, b, P = cp.Variable(n), cp.Parameter(n), cp.Parameter((m, n)), cp.Parameter(m), cp.Parameter((n, n))
    rows = [A[i] @ x + cp.norm((1 + i % 3) / 10 * (P.T @ x)) <= b[i] for i in range(m)]
    problem = cp.Problem(cp.Minimize(c @ x), rows)
    directions = rng.standard_normal((m, n))
    A_value = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    values = (
        -A_value[: n - 1].T @ rng.uniform(1, 2, n - 1),
        A_value,
        rng.uniform(1, 2, m),
        rng.standard_normal((n, n)) / 2,
    )
    return Instance(problem, (c, A, b, P), (x,), values)


def _robust_lp_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    c, A, b, P = _robust_lp(rng, n).values
    return np.zeros_like(c), A, b, P


def _group_lasso(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 |A x - b|^2 + w sum over groups |x_g|, groups of three; some groups vanish."""
    x, A, b, w = cp.Variable(3 * n), cp.Parameter((6 * n, 3 * n)), cp.Parameter(6 * n), cp.Parameter(nonneg=True)
    groups = cp.sum([cp.norm(x[3 * g : 3 * g + 3]) for g in range(n)])
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b) / 2 + w * groups))
    A_value = rng.standard_normal((6 * n, 3 * n)) / np.sqrt(6 * n)
    truth = np.repeat(np.arange(n) % 2 == 0, 3) * rng.standard_normal(3 * n)
    b_value = A_value @ truth + 0.1 * rng.standard_normal(6 * n)
    return Instance(problem, (A, b, w), (x,), (A_value, b_value, np.array(0.4)))


def _group_lasso_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """|A_g' b| = w for the first group, all others inside: that group is just about to leave zero."""
    A, b, _ = _group_lasso(rng, n).values
    return A, b, np.array(max(np.linalg.norm((A.T @ b)[3 * g : 3 * g + 3]) for g in range(n)))


def _square_root_lasso(rng: np.random.Generator, n: int) -> Instance:
    """Minimise |A x - b| + w |x|_1."""
    x, A, b, w = cp.Variable(n), cp.Parameter((2 * n, n)), cp.Parameter(2 * n), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.norm(A @ x - b) + w * cp.norm1(x)))
    return Instance(problem, (A, b, w), (x,), (*regression_data(rng, 2 * n, n, noise=0.5), np.array(0.1)))


def _square_root_lasso_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    A, _ = regression_data(rng, 2 * n, n, noise=0.5)
    return A, A @ np.ones(n), np.array(0.01)


def _chance_constrained(rng: np.random.Generator, n: int) -> Instance:
    """Maximise m'x subject to -m'x + 1.645 |F x| <= loss, 1'x = 1, x >= 0: one loss in twenty exceeds its bound."""
    x, m, F = cp.Variable(n, nonneg=True), cp.Parameter(n), cp.Parameter((n, n))
    loss, budget = cp.Parameter(), cp.sum(x) == 1
    risk = -m @ x + 1.645 * cp.norm(F @ x) <= loss
    problem = cp.Problem(cp.Maximize(m @ x), [risk, budget])
    values = (rng.uniform(0.02, 0.2, n), np.diag(rng.uniform(0.1, 0.4, n)) + 0.05 * rng.standard_normal((n, n)))
    return Instance(problem, (m, F, loss), (x, risk, budget), (*values, np.array(0.25)))


def _chance_constrained_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    m, F, _ = _chance_constrained(rng, n).values
    best = int(np.argmax(m))
    return m, F, np.array(-m[best] + 1.645 * np.linalg.norm(F[:, best]))


def _antenna_array(rng: np.random.Generator, n: int) -> Instance:
    """Minimise max_k |a_k'w| + |w|^2 / 10 subject to 1'w = 1, a_k = C_k + i S_k: weights w with low sidelobes."""
    re, im, t = cp.Variable(n), cp.Variable(n), cp.Variable()
    C, S = cp.Parameter((3, n)), cp.Parameter((3, n))
    main = np.ones(n)
    lobes = [cp.norm(cp.hstack([C[k] @ re - S[k] @ im, S[k] @ re + C[k] @ im])) <= t for k in range(3)]
    problem = cp.Problem(
        cp.Minimize(t + 0.1 * (cp.sum_squares(re) + cp.sum_squares(im))), [*lobes, main @ re == 1, main @ im == 0]
    )
    phases = np.outer([1.1, 1.9, 2.6], np.sort(rng.uniform(0, n, n)))
    return Instance(problem, (C, S), (re, im), (np.cos(phases), np.sin(phases)))


def _antenna_array_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    C, S = _antenna_array(rng, n).values
    return np.vstack([C[:1], C[:1], C[2:]]), np.vstack([S[:1], S[:1], S[2:]])


def _facility(rng: np.random.Generator, n: int) -> Instance:
    """Minimise sum_i |x - a_i|, x in the plane: the geometric median of n clients."""
    x, a = cp.Variable(2), cp.Parameter((n, 2))
    problem = cp.Problem(cp.Minimize(cp.sum([cp.norm(x - a[i]) for i in range(n)])))
    return Instance(problem, (a,), (x,), (rng.standard_normal((n, 2)),))


def _facility_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """The facility is at a client that just holds it: two others pull with force 1, the rest in opposite pairs."""
    angles = np.concatenate([[np.pi / 3, -np.pi / 3], np.tile([0.0, np.pi], (n - 3) // 2) + np.arange(n - 3) // 2])
    clients = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return (np.vstack([np.zeros(2), clients]),)


def _logistic_regression(rng: np.random.Generator, n: int) -> Instance:
    """Minimise sum_i log(1 + exp(-a_i'x)) + w |x|^2, the rows times their labels."""
    x, A, w = cp.Variable(n), cp.Parameter((4 * n, n)), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum(cp.logistic(-A @ x)) + w * cp.sum_squares(x)))
    return Instance(problem, (A, w), (x,), (rng.standard_normal((4 * n, n)) + 0.3, np.array(0.2)))


def _logistic_regression_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    A, w = _logistic_regression(rng, n).values
    return np.column_stack([A[:, :-1], np.zeros(len(A))]), w


def _entropy(rng: np.random.Generator, n: int) -> Instance:
    """Maximise sum_i -x_i log x_i subject to F x = m, 1'x = 1."""
    x, F, m = cp.Variable(n), cp.Parameter((2, n)), cp.Parameter(2)
    moments, total = F @ x == m, cp.sum(x) == 1
    problem = cp.Problem(cp.Maximize(cp.sum(cp.entr(x))), [moments, total])
    F_value = rng.standard_normal((2, n))
    return Instance(problem, (F, m), (x, moments, total), (F_value, F_value @ rng.dirichlet(np.full(n, 3.0))))


def _entropy_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    F, _ = _entropy(rng, n).values
    F[1] = 0
    return F, np.array([float(F[0].mean()), 0.0])


def _log_sum_exp(rng: np.random.Generator, n: int) -> Instance:
    """Minimise log sum exp(A x + b) subject to |x_i| <= u."""
    x, A, b, u = cp.Variable(n), cp.Parameter((2 * n, n)), cp.Parameter(2 * n), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.log_sum_exp(A @ x + b)), [x <= u, x >= -u])
    values = (rng.standard_normal((2 * n, n)) + 0.5, rng.standard_normal(2 * n), np.array(0.5))
    return Instance(problem, (A, b, u), (x,), values)


def _log_sum_exp_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    A, b, u = _log_sum_exp(rng, n).values
    return np.column_stack([A[:, :-1], np.zeros(len(A))]), b, u


def _relative_entropy(rng: np.random.Generator, n: int) -> Instance:
    """Minimise sum_i x_i log(x_i / q_i) subject to A x = b, 1'x = 1: the distribution nearest to q."""
    x, q, b = cp.Variable(n), cp.Parameter(n, pos=True), cp.Parameter(2)
    A = np.vstack([np.arange(n) / n, np.cos(np.arange(n))])
    moments = A @ x == b
    problem = cp.Problem(cp.Minimize(cp.sum(cp.rel_entr(x, q))), [moments, cp.sum(x) == 1])
    return Instance(problem, (q, b), (x, moments), (rng.uniform(0.1, 0.3, n), A @ rng.dirichlet(np.full(n, 4.0))))


def _relative_entropy_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """One q_i is so small that x_i vanishes to rounding."""
    q, b = _relative_entropy(rng, n).values
    q[0] = 1e-18
    return q, b


def _poisson(rng: np.random.Generator, n: int) -> Instance:
    """Minimise sum_i exp(a_i'x) - k_i a_i'x + w |x|^2, counts k."""
    x, k, w = cp.Variable(n), cp.Parameter(4 * n), cp.Parameter(nonneg=True)
    A = rng.standard_normal((4 * n, n)) / np.sqrt(n)
    problem = cp.Problem(cp.Minimize(cp.sum(cp.exp(A @ x)) - k @ (A @ x) + w * cp.sum_squares(x)))
    return Instance(problem, (k, w), (x,), (rng.poisson(2.0, 4 * n).astype(float) + 0.5, np.array(0.1)))


def _poisson_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    return np.zeros(4 * n), np.array(0.1)


def _softmax(rng: np.random.Generator, n: int) -> Instance:
    """Maximise z'x + w sum -x_i log x_i subject to 1'x = 1: x is softmax(z / w)."""
    x, z, w = cp.Variable(n), cp.Parameter(n), cp.Parameter(nonneg=True)
    total = cp.sum(x) == 1
    problem = cp.Problem(cp.Maximize(z @ x + w * cp.sum(cp.entr(x))), [total])
    return Instance(problem, (z, w), (x, total), (rng.standard_normal(n), np.array(0.7)))


def _softmax_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """Saturated: one entry is 1 and the others vanish to rounding."""
    z = rng.standard_normal(n)
    z[0] = 60.0
    return z, np.array(1.0)


def _nearest_correlation(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 |X - C|^2 subject to X_ii = 1, X positive semidefinite."""
    X, C = cp.Variable((n, n), symmetric=True), cp.Parameter((n, n), symmetric=True)
    ones, cone = cp.diag(X) == 1, X >> 0
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - C) / 2), [ones, cone])
    root = rng.standard_normal((n, n))
    return Instance(problem, (C,), (X, ones, cone), ((root + root.T) / 2,))


def _nearest_correlation_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """C is a correlation matrix with a zero eigenvalue already: y = 0 and X is on the boundary."""
    root = rng.standard_normal((n, n - 1))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    C = root @ root.T
    return ((C + C.T) / 2,)


def _max_cut(rng: np.random.Generator, n: int) -> Instance:
    """Maximise <C, X> subject to X_ii = 1, X positive semidefinite."""
    X, C = cp.Variable((n, n), PSD=True), cp.Parameter((n, n), symmetric=True)
    ones = cp.diag(X) == 1
    problem = cp.Problem(cp.Maximize(cp.trace(C @ X)), [ones])
    root = rng.standard_normal((n, n))
    return Instance(problem, (C,), (X, ones), ((root + root.T) / 2,))


def _max_cut_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    return (np.zeros((n, n)),)


def _minimum_eigenvalue(rng: np.random.Generator, n: int) -> Instance:
    """Maximise lambda_min(C + diag x) subject to 1'x = t, |x| <= r."""
    x, C, t, r = cp.Variable(n), cp.Parameter((n, n), symmetric=True), cp.Parameter(), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Maximize(cp.lambda_min(C + cp.diag(x))), [cp.sum(x) == t, cp.norm(x) <= r])
    root = rng.standard_normal((n, n))
    return Instance(problem, (C, t, r), (x,), ((root + root.T) / 2, np.array(0.5), np.array(1.0)))


def _minimum_eigenvalue_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    return np.eye(n), np.array(0.0), np.array(1.0)


def _matrix_completion(rng: np.random.Generator, n: int) -> Instance:
    """Minimise w |X|_* + 1/2 |X o M - B|^2 + 1/20 |X|^2, M the pattern of the known entries."""
    X, B, w = cp.Variable((n, n + 1)), cp.Parameter((n, n + 1)), cp.Parameter(nonneg=True)
    M = ((np.arange(n)[:, None] + 2 * np.arange(n + 1)) % 3 != 0).astype(float)
    fit = cp.sum_squares(cp.multiply(M, X) - B) / 2 + cp.sum_squares(X) / 20
    problem = cp.Problem(cp.Minimize(w * cp.normNuc(X) + fit))
    low = rng.standard_normal((n, 2)) @ rng.standard_normal((2, n + 1))
    return Instance(problem, (B, w), (X,), (M * (low + 0.1 * rng.standard_normal((n, n + 1))), np.array(0.6)))


def _matrix_completion_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """w is the largest singular value of B: X = 0 is just about to leave zero."""
    B, _ = _matrix_completion(rng, n).values
    return B, np.array(np.linalg.norm(B, 2))


def _inverse_covariance(rng: np.random.Generator, n: int) -> Instance:
    """Minimise <S, X> - log det X + w sum |X_ij|."""
    X, S, w = cp.Variable((n, n), PSD=True), cp.Parameter((n, n), PSD=True), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.trace(S @ X) - cp.log_det(X) + w * cp.sum(cp.abs(X))))
    root = rng.standard_normal((n, 5 * n)) / np.sqrt(5 * n)
    return Instance(problem, (S, w), (X,), (root @ root.T, np.array(0.2)))


def _inverse_covariance_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """The first entry off the diagonal is just about to leave zero."""
    S = np.eye(n)
    S[0, 1] = S[1, 0] = 0.1
    return S, np.array(0.1)


def _lyapunov(rng: np.random.Generator, n: int) -> Instance:
    """Minimise |X|^2 / 2 + tr X subject to A'X + X A + Q negative semidefinite, X positive semidefinite."""
    X, A, Q = cp.Variable((n, n), symmetric=True), cp.Parameter((n, n)), cp.Parameter((n, n), symmetric=True)
    decrease = A.T @ X + X @ A + Q << 0
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X) / 2 + cp.trace(X)), [decrease, X >> 0])
    root = rng.standard_normal((n, n))
    return Instance(problem, (A, Q), (X,), (np.sqrt(3 / n) * root - 3 * np.eye(n), root @ root.T / n + np.eye(n)))


def _lyapunov_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    return -np.eye(n), np.zeros((n, n))


def _p_norm(power: float, *, approximate: bool) -> Callable[[np.random.Generator, int], Instance]:
    def build(rng: np.random.Generator, n: int) -> Instance:
        x, A, b = cp.Variable(n), cp.Parameter((2 * n, n)), cp.Parameter(2 * n)
        problem = cp.Problem(cp.Minimize(cp.pnorm(A @ x - b, power, approx=approximate) + cp.sum_squares(x) / 10))
        return Instance(problem, (A, b), (x,), regression_data(rng, 2 * n, n, noise=4.0))

    build.__doc__ = f"Minimise |A x - b|_{power} + |x|^2 / 10."
    return build


def _p_norm_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    A, _ = regression_data(rng, 2 * n, n, noise=4.0)
    return A, np.zeros(2 * n)


def _geometric_mean(rng: np.random.Generator, n: int) -> Instance:
    """Maximise prod x_i^a_i subject to c'x <= t, x_i <= u, a_i proportional to i: an n-dimensional power cone."""
    x, c, t, u = cp.Variable(n), cp.Parameter(n, pos=True), cp.Parameter(nonneg=True), cp.Parameter(nonneg=True)
    budget = c @ x <= t
    problem = cp.Problem(cp.Maximize(cp.geo_mean(x, np.arange(1.0, n + 1), approx=False)), [budget, x <= u])
    return Instance(problem, (c, t, u), (x, budget), (rng.uniform(0.5, 1.5, n), np.array(2.0), np.array(0.8)))


def _geometric_mean_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """Without bounds x_i = a_i t / c_i, and u is the largest of these."""
    a, c, t = np.arange(1, n + 1) / (n * (n + 1) / 2), rng.uniform(0.5, 1.5, n), 1.0
    return c, np.array(t), np.array(np.max(a * t / c))


def _power_utility(rng: np.random.Generator, n: int) -> Instance:
    """Maximise sum_i p_i x_i^0.4 subject to c'x = 1, x_i <= 1: three-dimensional power cones."""
    x, p, c = cp.Variable(n), cp.Parameter(n, pos=True), cp.Parameter(n, pos=True)
    budget = c @ x == 1
    utility = cp.sum([p[i] * cp.power(x[i], 0.4, approx=False) for i in range(n)])
    problem = cp.Problem(cp.Maximize(utility), [budget, x <= 1])
    return Instance(problem, (p, c), (x, budget), (rng.uniform(0.5, 1.5, n), rng.uniform(0.5, 1.5, n)))


def _power_utility_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """p_i x_i^-0.6 / c_i is the same for all i at an x with the largest entry 1."""
    x = np.linspace(0.4, 1, n)
    c = rng.uniform(0.5, 1.5, n)
    c /= c @ x
    return c * x**0.6, c


def _power_cone_projection(rng: np.random.Generator, n: int) -> Instance:
    """Minimise |x - a|^2 + |y - b|^2 + |z - c|^2 subject to x^e y^(1 - e) >= |z|, with an exponent e for each entry."""
    (x, y, z), (a, b, c) = (tuple(kind(n) for _ in range(3)) for kind in (cp.Variable, cp.Parameter))
    cone = cp.PowCone3D(x, y, z, _exponents(n))
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a) + cp.sum_squares(y - b) + cp.sum_squares(z - c)), [cone])
    values = (rng.uniform(0.2, 1, n), rng.uniform(0.2, 1, n), rng.choice([-1.0, 1.0], n) * rng.uniform(1, 2, n))
    return Instance(problem, (a, b, c), (x, y, z, *cone.dual_variables), values)


def _power_cone_projection_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """The points are on the boundary of the polar cone, (x / e)^e (y / (1 - e))^(1 - e) = |z| of -(x, y, z)."""
    c = rng.uniform(1, 2, n)
    return -_exponents(n) * c, -(1 - _exponents(n)) * c, c


def _exponents(n: int) -> np.ndarray:
    return np.linspace(0.3, 0.8, n)


def _cobb_douglas(rng: np.random.Generator, n: int) -> Instance:
    """Minimise |u - a|^2 + |w - b|^2 subject to prod u_i^a_i >= |w|, two cones with n exponents."""
    U, w, a, b = cp.Variable((n, 2)), cp.Variable(2), cp.Parameter((n, 2)), cp.Parameter(2)
    exponents = np.stack([np.full(n, 1 / n), np.arange(1, n + 1) / (n * (n + 1) / 2)], axis=1)
    cone = cp.PowConeND(U, w, exponents)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(U - a) + cp.sum_squares(w - b)), [cone])
    return Instance(problem, (a, b), (U, w, *cone.dual_variables), (rng.uniform(0.2, 1, (n, 2)), np.array([2.0, -1.5])))


def _cobb_douglas_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """The point to project is on the boundary already."""
    a = rng.uniform(0.2, 1, (n, 2))
    exponents = np.stack([np.full(n, 1 / n), np.arange(1, n + 1) / (n * (n + 1) / 2)], axis=1)
    return a, np.prod(a**exponents, axis=0)


def _box_volume(rng: np.random.Generator, _size: int) -> Instance:
    """Geometric: maximise h w d subject to 2 h (w + d) <= wall, w d <= floor, 1 / 2 <= h / w <= ratio."""
    h, w, d = cp.Variable(pos=True), cp.Variable(pos=True), cp.Variable(pos=True)
    wall, floor, ratio = cp.Parameter(pos=True), cp.Parameter(pos=True), cp.Parameter(pos=True)
    limits = [2 * (h * w + h * d) <= wall, w * d <= floor, h / w <= ratio, h / w >= 0.5]
    problem = cp.Problem(cp.Maximize(h * w * d), limits)
    values = tuple(np.array(value) for value in (20.0, 4.0, 4.0) * rng.uniform(0.9, 1.1, 3))
    return Instance(problem, (wall, floor, ratio), (h, w, d), values, gp=True)


def _box_volume_degenerate(_rng: np.random.Generator, _size: int) -> tuple[np.ndarray, ...]:
    """w = d = 2 and h = wall / 8 without the bound on h / w, which is just met."""
    return np.array(20.0), np.array(4.0), np.array(1.25)


def _power_control(rng: np.random.Generator, n: int) -> Instance:
    """Geometric: minimise 1'p subject to G_ii p_i >= t (0.1 + sum_{j != i} G_ij p_j): powers and gains."""
    p, G, t = cp.Variable(n, pos=True), cp.Parameter((n, n), pos=True), cp.Parameter(pos=True)
    ratios = [t * (0.1 + cp.sum([G[i, j] * p[j] for j in range(n) if j != i])) <= G[i, i] * p[i] for i in range(n)]
    problem = cp.Problem(cp.Minimize(cp.sum(p)), ratios)
    return Instance(problem, (G, t), (p,), (rng.uniform(0.01, 0.1, (n, n)) + np.eye(n), np.array(1.5)), gp=True)


def _power_control_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    return np.full((n, n), 0.05) + np.eye(n), np.array(1.5)


def _posynomial(rng: np.random.Generator, n: int) -> Instance:
    """Geometric: minimise sum_i c_i x_i^e + prod_i 1 / x_i subject to prod_i x_i >= b; an exponent is a parameter."""
    x, c, e, b = cp.Variable(n, pos=True), cp.Parameter(n, pos=True), cp.Parameter(), cp.Parameter(pos=True)
    product = cp.prod(x)
    problem = cp.Problem(cp.Minimize(cp.sum([c[i] * x[i] ** e for i in range(n)]) + 1 / product), [product >= b])
    return Instance(problem, (c, e, b), (x,), (rng.uniform(0.5, 1.5, n), np.array(1.5), np.array(2.0)), gp=True)


def _posynomial_degenerate(_rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """x = 1 without the bound on the product, which is just met."""
    return np.ones(n), np.array(1.0), np.array(1.0)


def _all_cones(rng: np.random.Generator, n: int) -> Instance:
    """Every cone at once: equalities, inequalities, second-order, semidefinite, exponential, and power cones of three
    and more dimensions."""
    x, X = cp.Variable(n), cp.Variable((3, 3), symmetric=True)
    z, C, t = cp.Parameter(n), cp.Parameter((3, 3), symmetric=True), cp.Parameter(nonneg=True)
    objective = (
        cp.sum_squares(x - z)
        + cp.sum_squares(X - C)
        + cp.sum(cp.exp(x))
        - cp.geo_mean(x[:3], [1, 2, 3], approx=False)
        + cp.power(x[0], 2.5, approx=False)
    )
    constraints = [cp.norm(x) <= t, X >> 0, cp.trace(X) == cp.sum(x), x[n - 1] >= 0.3]
    root = rng.standard_normal((3, 3))
    values = (rng.uniform(0.5, 2, n), (root + root.T) / 2, np.array(1.2))
    return Instance(cp.Problem(cp.Minimize(objective), constraints), (z, C, t), (x, X), values)


def _all_cones_degenerate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """C is a multiple of the identity: X has one eigenvalue, three times."""
    z, _, t = _all_cones(rng, n).values
    return z, -np.eye(3), t


def _family(
    build: Callable[[np.random.Generator, int], Instance],
    degenerate: Callable[[np.random.Generator, int], tuple[np.ndarray, ...]],
    size: int,
    cones: frozenset[str],
    what: str,
    differentiable: bool = False,
    name: str = "",
    unique: bool = True,
) -> ConicFamily:
    name = name or build.__name__.removeprefix("_")
    return ConicFamily(Family(name, build, size, (4 * size,)), cones, degenerate, what, differentiable, unique)


CONIC_FAMILIES: tuple[ConicFamily, ...] = (
    _family(_norm_constrained, _norm_constrained_degenerate, 6, SOC, "the ball just holds the minimiser"),
    _family(_robust_least_squares, _robust_least_squares_degenerate, 5, SOC, "x is just about to leave zero"),
    _family(_robust_lp, _robust_lp_degenerate, 4, SOC, "no cost: every point is a solution", unique=False),
    _family(_group_lasso, _group_lasso_degenerate, 4, SOC, "a group is just about to leave zero"),
    _family(_square_root_lasso, _square_root_lasso_degenerate, 5, SOC, "an exact fit: the norm vanishes"),
    _family(_chance_constrained, _chance_constrained_degenerate, 5, SOC, "two active sets meet"),
    _family(_antenna_array, _antenna_array_degenerate, 5, SOC, "two lobes are the same, and moved apart"),
    _family(_facility, _facility_degenerate, 7, SOC, "the facility is just held by a client"),
    _family(_logistic_regression, _logistic_regression_degenerate, 4, EXP, "a column of zeros", differentiable=True),
    _family(_entropy, _entropy_degenerate, 7, EXP, "a redundant equality"),
    _family(_log_sum_exp, _log_sum_exp_degenerate, 4, EXP, "a variable without effect", unique=False),
    _family(_relative_entropy, _relative_entropy_degenerate, 6, EXP, "an entry vanishes"),
    _family(_poisson, _poisson_degenerate, 4, EXP, "no counts", differentiable=True),
    _family(_softmax, _softmax_degenerate, 6, EXP, "saturation", differentiable=True),
    _family(_nearest_correlation, _nearest_correlation_degenerate, 4, PSD, "a zero eigenvalue, no force"),
    _family(_max_cut, _max_cut_degenerate, 4, PSD, "no cost: every point is a solution", unique=False),
    _family(_minimum_eigenvalue, _minimum_eigenvalue_degenerate, 4, PSD | SOC, "equal eigenvalues"),
    _family(_matrix_completion, _matrix_completion_degenerate, 3, PSD, "rank just about to grow"),
    _family(
        _inverse_covariance,
        _inverse_covariance_degenerate,
        3,
        PSD | EXP,
        "an entry is about to leave 0",
    ),
    _family(_lyapunov, _lyapunov_degenerate, 3, PSD, "X = 0 is at the apex"),
    _family(_p_norm(1.5, approximate=True), _p_norm_degenerate, 4, SOC, "an exact fit", name="p_norm_1.5"),
    _family(_p_norm(3, approximate=False), _p_norm_degenerate, 4, POW, "an exact fit", name="p_norm_3"),
    _family(_geometric_mean, _geometric_mean_degenerate, 4, POW, "a bound that just holds"),
    _family(_power_utility, _power_utility_degenerate, 4, POW, "a bound that just holds"),
    _family(_power_cone_projection, _power_cone_projection_degenerate, 4, POW, "just held at the apex"),
    _family(_cobb_douglas, _cobb_douglas_degenerate, 4, POW, "already on the boundary"),
    _family(_box_volume, _box_volume_degenerate, 3, EXP, "a bound that just holds"),
    _family(_power_control, _power_control_degenerate, 3, EXP, "all transmitters alike", differentiable=True),
    _family(_posynomial, _posynomial_degenerate, 3, EXP, "a bound that just holds"),
    _family(_all_cones, _all_cones_degenerate, 5, SOC | PSD | EXP | POW, "equal eigenvalues", differentiable=True),
)
"""All conic families."""

FAMILIES: tuple[Family, ...] = tuple(each.family for each in CONIC_FAMILIES)
"""The same, without what is known of their degenerate instances."""
