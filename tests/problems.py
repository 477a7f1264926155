"""Named families of linear and quadratic programs: parametric CVXPY problems with regular values.

An instance is regular when its solution is unique, strictly complementary (each inequality has y_i > 0 or s_i > 0,
with a margin) and, where duals are requested, has linearly independent active rows. The solution map is then smooth
near `values`, so that derivatives exist and may be compared with central differences. Every family is regular at
`family.build(np.random.default_rng(0), family.size)`.

Letters: x the variable, c or q a linear cost, P a quadratic cost, A and b the rows, G and h the inequality rows where
A x = b are equalities, l <= x <= u bounds, z the point to project, w a nonnegative weight. A family from statistics
keeps A for its data and b for its targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import cvxpy as cp
import numpy as np
import scipy.sparse as sp


@final
@dataclass(frozen=True)
class Instance:
    """A parametric problem, what is asked of it, and one regular value per parameter.

    `outputs` lists variables first; a constraint among them stands for its dual variable. `values` have the
    parameters' full shapes: symmetric, semidefinite, diagonal and sparse parameters have dense arrays. `gp` says
    whether the problem is a geometric program.
    """

    problem: cp.Problem
    parameters: tuple[cp.Parameter, ...]
    outputs: tuple[cp.Variable | cp.Constraint, ...]
    values: tuple[np.ndarray, ...]
    gp: bool = False


@final
@dataclass(frozen=True)
class Family:
    """A rule that draws instances of any size.

    `size` is for tests, `bench_sizes` for benchmarks; what it counts is said by `build`. `unique_dual` says whether
    the dual solution is unique; without it no constraint is among the outputs.
    """

    name: str
    build: Callable[[np.random.Generator, int], Instance]
    size: int
    bench_sizes: tuple[int, ...]
    unique_dual: bool = True


def family(name: str) -> Family:
    """The family of that name."""
    return _BY_NAME[name]


def assign(instance: Instance, values: tuple[np.ndarray, ...]) -> None:
    """Write one value per parameter into the CVXPY problem of the instance."""
    for parameter, value in zip(instance.parameters, values, strict=True):
        if parameter.sparse_idx is None:
            parameter.value = value
        else:
            parameter.value_sparse = sp.coo_array((value[parameter.sparse_idx], parameter.sparse_idx), value.shape)


def batch_values(
    instance: Instance, rng: np.random.Generator, batch: int, spread: float = 0.01
) -> tuple[np.ndarray, ...]:
    """A batch of values near `instance.values`: per parameter an array with a leading axis of length `batch`.

    `spread` is the size of the perturbation relative to the size of the value. Attributes hold: a nonnegative value
    is scaled by positive factors, a semidefinite one is congruent to the original, a pattern keeps its zeros.
    """
    return tuple(
        np.stack([_perturbed(parameter, value, rng, spread) for _ in range(batch)])
        if batch
        else np.empty((0, *value.shape))
        for parameter, value in zip(instance.parameters, instance.values, strict=True)
    )


def _perturbed(parameter: cp.Parameter, value: np.ndarray, rng: np.random.Generator, spread: float) -> np.ndarray:
    noise = spread * rng.standard_normal(value.shape)
    attributes = parameter.attributes
    if attributes["nonneg"]:
        return np.asarray(value * np.exp(noise))
    if attributes["PSD"]:
        congruence = np.eye(len(value)) + noise / np.sqrt(len(value))
        product = congruence @ value @ congruence.T
        return np.asarray((product + product.T) / 2)
    if attributes["symmetric"]:
        noise = (noise + noise.T) / np.sqrt(2)
    if attributes["diag"] or attributes["sparsity"]:
        return np.asarray(value * (1 + noise))
    return np.asarray(value + noise * np.sqrt(np.mean(value**2)))


def _positive_definite(rng: np.random.Generator, n: int, condition: float) -> np.ndarray:
    """A random symmetric matrix with eigenvalues spread evenly in logarithm over [1 / condition, 1]."""
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    root = basis * np.sqrt(np.geomspace(1 / condition, 1, n))
    product = root @ root.T
    return np.asarray((product + product.T) / 2)


def regression_data(rng: np.random.Generator, samples: int, n: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Data A (samples, n) with columns of unit length on average, and b = A x + noise with every third x_i nonzero."""
    A = rng.standard_normal((samples, n)) / np.sqrt(samples)
    truth = np.where(np.arange(n) % 3 == 0, rng.choice([-1.0, 1.0], n) * rng.uniform(1, 2, n), 0)
    return A, A @ truth + noise * rng.standard_normal(samples) / np.sqrt(samples)


def _dynamics(rng: np.random.Generator, states: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """A slightly unstable A (states, states), spectral radius 1.05, and inputs B (states, inputs)."""
    A = np.eye(states) + 0.3 * rng.standard_normal((states, states)) / np.sqrt(states)
    return 1.05 * A / np.max(np.abs(np.linalg.eigvals(A))), rng.standard_normal((states, inputs)) / np.sqrt(states)


def _least_squares(rng: np.random.Generator, n: int) -> Instance:
    """Minimise |A x - b|^2, A (2 n, n)."""
    x, A, b = cp.Variable(n), cp.Parameter((2 * n, n)), cp.Parameter(2 * n)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)))
    return Instance(problem, (A, b), (x,), regression_data(rng, 2 * n, n, noise=0.5))


def _ridge(rng: np.random.Generator, n: int) -> Instance:
    """Minimise |A x - b|^2 + w |x|^2, A (n, n)."""
    x, A, b, w = cp.Variable(n), cp.Parameter((n, n)), cp.Parameter(n), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b) + w * cp.sum_squares(x)))
    return Instance(problem, (A, b, w), (x,), (*regression_data(rng, n, n, noise=0.5), np.array(0.1)))


def _lasso(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 |A x - b|^2 + w |x|_1, A (2 n, n)."""
    x, A, b, w = cp.Variable(n), cp.Parameter((2 * n, n)), cp.Parameter(2 * n), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b) / 2 + w * cp.norm1(x)))
    return Instance(problem, (A, b, w), (x,), (*regression_data(rng, 2 * n, n, noise=0.5), np.array(0.3)))


def _elastic_net(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 |A x - b|^2 + w_1 |x|_1 + w_2 / 2 |x|^2, A (n, n)."""
    x, A, b = cp.Variable(n), cp.Parameter((n, n)), cp.Parameter(n)
    w_1, w_2 = cp.Parameter(nonneg=True), cp.Parameter(nonneg=True)
    penalty = w_1 * cp.norm1(x) + w_2 / 2 * cp.sum_squares(x)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b) / 2 + penalty))
    weights = (np.array(0.3), np.array(0.1))
    return Instance(problem, (A, b, w_1, w_2), (x,), (*regression_data(rng, n, n, noise=0.5), *weights))


def _nonnegative_least_squares(rng: np.random.Generator, n: int) -> Instance:
    """Minimise |A x - b|^2 subject to x >= 0, A (2 n, n)."""
    x, A, b = cp.Variable(n, nonneg=True), cp.Parameter((2 * n, n)), cp.Parameter(2 * n)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)))
    return Instance(problem, (A, b), (x,), regression_data(rng, 2 * n, n, noise=0.5))


def _svm(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 |x|^2 + w 1's subject to b o (A x + offset) >= 1 - s, s >= 0; 4 n points A with labels b = +-1."""
    b = np.where(np.arange(4 * n) % 2 == 0, 1.0, -1.0)
    x, offset, s = cp.Variable(n), cp.Variable(), cp.Variable(4 * n, nonneg=True)
    A, w = cp.Parameter((4 * n, n)), cp.Parameter(nonneg=True)
    margins = cp.multiply(b, A @ x + offset) >= 1 - s
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) / 2 + w * cp.sum(s)), [margins])
    points = rng.standard_normal((4 * n, n)) + np.outer(b, rng.standard_normal(n)) / np.sqrt(n) + 0.5
    return Instance(problem, (A, w), (x, offset, margins), (points, np.array(0.3)))


def _quantile_regression(rng: np.random.Generator, n: int) -> Instance:
    """Minimise w 1'r + (1 - w) 1's subject to A x + r - s = b, r >= 0, s >= 0: the w-quantile, A (6 n, n)."""
    x, r, s = cp.Variable(n), cp.Variable(6 * n, nonneg=True), cp.Variable(6 * n, nonneg=True)
    A, b, w = cp.Parameter((6 * n, n)), cp.Parameter(6 * n), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(w * cp.sum(r) + (1 - w) * cp.sum(s)), [A @ x + r - s == b])
    features = np.column_stack([np.ones(6 * n), rng.standard_normal((6 * n, n - 1))])
    targets = features @ rng.standard_normal(n) + rng.standard_normal(6 * n)
    return Instance(problem, (A, b, w), (x, r), (features, targets, np.array(0.3)))


def _portfolio(rng: np.random.Generator, n: int) -> Instance:
    """Maximise m'x - 1/2 (f'S f + |d o x|^2), f = F'x, subject to 1'x = 1, x >= 0, |x - x_0|_1 <= t; n assets."""
    k = max(3, n // 10)
    x, f = cp.Variable(n, nonneg=True), cp.Variable(k)
    m, F, S = cp.Parameter(n), cp.Parameter((n, k)), cp.Parameter((k, k), PSD=True)
    d, x_0, t = cp.Parameter(n, nonneg=True), cp.Parameter(n, nonneg=True), cp.Parameter(nonneg=True)
    budget, turnover = cp.sum(x) == 1, cp.norm1(x - x_0) <= t
    risk = cp.quad_form(f, S) + cp.sum_squares(cp.multiply(d, x))
    problem = cp.Problem(cp.Maximize(m @ x - risk / 2), [budget, turnover, f == F.T @ x])
    loadings = rng.standard_normal((n, k)) / np.sqrt(k)
    returns = 0.2 * loadings @ rng.standard_normal(k) + 0.2 * rng.standard_normal(n)
    idiosyncratic, previous = rng.uniform(0.3, 1.5, n), rng.dirichlet(np.full(n, 2.0))
    values = (returns, loadings, _positive_definite(rng, k, 10), idiosyncratic, previous, np.array(0.8))
    return Instance(problem, (m, F, S, d, x_0, t), (x, budget, turnover), values)


def _mpc(rng: np.random.Generator, horizon: int) -> Instance:
    """Minimise sum_t |x_t|^2 + 1/10 |u_t|^2 subject to x_{t+1} = A x_t + B u_t, x_0 = start, |u_t| <= 1 per input."""
    states, inputs = 8, 3
    x, u = cp.Variable((states, horizon + 1)), cp.Variable((inputs, horizon), bounds=[-1, 1])
    A, B, start = cp.Parameter((states, states)), cp.Parameter((states, inputs)), cp.Parameter(states)
    initial, steps = x[:, 0] == start, x[:, 1:] == A @ x[:, :-1] + B @ u
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) + cp.sum_squares(u) / 10), [initial, steps])
    values = (*_dynamics(rng, states, inputs), 3 * rng.standard_normal(states))
    return Instance(problem, (A, B, start), (u, x, initial), values)


def _lqr(rng: np.random.Generator, horizon: int) -> Instance:
    """Minimise sum_t x_t'Q x_t + u_t'R u_t + x_T'S x_T subject to x_{t+1} = A x_t + B u_t, x_0 = start."""
    states, inputs = 4, 2
    x, u = cp.Variable((states, horizon + 1)), cp.Variable((inputs, horizon))
    Q, R, S = (cp.Parameter((n, n), PSD=True) for n in (states, inputs, states))
    A, B, start = cp.Parameter((states, states)), cp.Parameter((states, inputs)), cp.Parameter(states)
    running = cp.sum([cp.quad_form(x[:, t], Q) + cp.quad_form(u[:, t], R) for t in range(horizon)])
    initial, steps = x[:, 0] == start, x[:, 1:] == A @ x[:, :-1] + B @ u
    problem = cp.Problem(cp.Minimize(running + cp.quad_form(x[:, horizon], S)), [initial, steps])
    costs = tuple(_positive_definite(rng, n, 10) for n in (states, inputs, states))
    values = (*costs, *_dynamics(rng, states, inputs), rng.standard_normal(states))
    return Instance(problem, (Q, R, S, A, B, start), (u, x, initial, steps), values)


def _simplex_projection(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 |x - z|^2 subject to 1'x = 1, x >= 0."""
    x, z = cp.Variable(n, nonneg=True), cp.Parameter(n)
    total = cp.sum(x) == 1
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - z) / 2), [total])
    return Instance(problem, (z,), (x, total), (0.2 * rng.standard_normal(n),))


def _capped_simplex_projection(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 |x - z|^2 subject to 1'x = n / 4, 0 <= x <= u, the bounds being an attribute of the variable."""
    z, u = cp.Parameter(n), cp.Parameter(n, nonneg=True)
    x = cp.Variable(n, bounds=[0, u])
    total = cp.sum(x) == n / 4
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - z) / 2), [total])
    return Instance(problem, (z, u), (x, total), (rng.standard_normal(n), rng.uniform(0.3, 0.9, n)))


def _box_projection(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 |x - z|^2 subject to lower <= x <= u."""
    x, z, lower, u = cp.Variable(n), cp.Parameter(n), cp.Parameter(n), cp.Parameter(n)
    below, above = x >= lower, x <= u
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - z) / 2), [below, above])
    values = (rng.standard_normal(n), -rng.uniform(0.3, 1, n), rng.uniform(0.3, 1, n))
    return Instance(problem, (z, lower, u), (x, below, above), values)


def _polytope_projection(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 |x - z|^2 subject to G x <= h, G (2 n, n)."""
    x, z, G, h = cp.Variable(n), cp.Parameter(n), cp.Parameter((2 * n, n)), cp.Parameter(2 * n)
    facets = G @ x <= h
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - z) / 2), [facets])
    values = (2 * rng.standard_normal(n), rng.standard_normal((2 * n, n)) / np.sqrt(n), rng.uniform(0.5, 1.5, 2 * n))
    return Instance(problem, (z, G, h), (x, facets), values)


def _tv_denoising(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 |x - z|^2 + w sum_i |x_{i+1} - x_i|, z a noisy signal with a jump every n / 4 samples."""
    x, z, w = cp.Variable(n), cp.Parameter(n), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - z) / 2 + w * cp.norm1(cp.diff(x))))
    levels = np.array([0.0, 2.0, -1.0, 1.0])
    signal = levels[4 * np.arange(n) // n] + 0.3 * rng.standard_normal(n)
    return Instance(problem, (z, w), (x,), (signal, np.array(0.4)))


def _transport(rng: np.random.Generator, n: int) -> Instance:
    """Minimise <C, X> + w / 2 |X|^2 subject to X 1 = a, X'1 = b, X >= 0 (n, n); one equality is redundant."""
    X, C, w = cp.Variable((n, n), nonneg=True), cp.Parameter((n, n)), cp.Parameter(nonneg=True)
    a, b = rng.dirichlet(np.full(n, 5.0)), rng.dirichlet(np.full(n, 5.0))
    marginals = [cp.sum(X, axis=1) == a, cp.sum(X, axis=0) == b]
    problem = cp.Problem(cp.Minimize(cp.sum(cp.multiply(C, X)) + w / 2 * cp.sum_squares(X)), marginals)
    distances = np.linalg.norm(rng.uniform(size=(n, 1, 2)) - rng.uniform(size=(1, n, 2)), axis=2)
    return Instance(problem, (C, w), (X,), (distances, np.array(1.0)))


def _network_flow(rng: np.random.Generator, nodes: int) -> Instance:
    """Minimise c'x + 1/2 sum_i r_i x_i^2 subject to N x = b, 0 <= x <= u; N the incidence matrix less a node."""
    tails = np.repeat(np.arange(nodes), 3)
    heads = (tails + np.tile([1, 2, nodes // 2], nodes)) % nodes
    arcs = np.arange(len(tails))
    N = np.zeros((nodes, len(arcs)))
    N[tails, arcs], N[heads, arcs] = 1, -1
    c, r = cp.Parameter(len(arcs)), cp.Parameter(len(arcs), nonneg=True)
    b, u = cp.Parameter(nodes - 1), cp.Parameter(len(arcs), nonneg=True)
    x = cp.Variable(len(arcs), nonneg=True)
    balance, capacity = N[:-1] @ x == b, x <= u
    problem = cp.Problem(cp.Minimize(c @ x + cp.sum(cp.multiply(r, cp.square(x))) / 2), [balance, capacity])
    capacities = rng.uniform(0.5, 1.5, len(arcs))
    supply = N[:-1] @ (capacities * rng.choice([0.2, 0.9], len(arcs)))
    values = (rng.uniform(0, 2, len(arcs)), rng.uniform(0.2, 1, len(arcs)), supply, capacities)
    return Instance(problem, (c, r, b, u), (x, balance, capacity), values)


def _lp_vertex(rng: np.random.Generator, n: int) -> Instance:
    """Minimise c'x subject to A x <= b, A (2 n, n); n rows are active and carry the multipliers y > 0, c = -A'y."""
    x, c, A, b = cp.Variable(n), cp.Parameter(n), cp.Parameter((2 * n, n)), cp.Parameter(2 * n)
    rows = A @ x <= b
    problem = cp.Problem(cp.Minimize(c @ x), [rows])
    vertex, normals = rng.standard_normal(n), rng.standard_normal((2 * n, n)) / np.sqrt(n)
    active = rng.permutation(2 * n) < n
    y, slack = np.where(active, rng.uniform(0.5, 1.5, 2 * n), 0), np.where(active, 0, rng.uniform(0.5, 1.5, 2 * n))
    return Instance(problem, (c, A, b), (x, rows), (-normals.T @ y, normals, normals @ vertex + slack))


def _dense_qp(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 x'P x + q'x subject to A x <= b, A (n, n); all data are parameters."""
    x, P, q = cp.Variable(n), cp.Parameter((n, n), PSD=True), cp.Parameter(n)
    A, b = cp.Parameter((n, n)), cp.Parameter(n)
    rows = A @ x <= b
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, P) / 2 + q @ x), [rows])
    matrices = (_positive_definite(rng, n, 10), rng.standard_normal(n), rng.standard_normal((n, n)) / np.sqrt(n))
    return Instance(problem, (P, q, A, b), (x, rows), (*matrices, rng.uniform(-1, 0, n)))


def _diagonal_qp(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 |D x|^2 + q'x subject to A x >= b; D diagonal, A (n, n) sparse with three entries per row."""
    pattern = (np.repeat(np.arange(n), 3), (np.repeat(np.arange(n), 3) + np.tile([0, 1, 4], n)) % n)
    x, D, q = cp.Variable(n), cp.Parameter((n, n), diag=True), cp.Parameter(n)
    A, b = cp.Parameter((n, n), sparsity=pattern), cp.Parameter(n)
    rows = A @ x >= b
    problem = cp.Problem(cp.Minimize(cp.sum_squares(D @ x) / 2 + q @ x), [rows])
    coupling = np.zeros((n, n))
    coupling[pattern] = rng.standard_normal(3 * n)
    values = (np.diag(rng.uniform(0.5, 2, n)), rng.standard_normal(n), coupling, rng.uniform(-0.5, 0.5, n))
    return Instance(problem, (D, q, A, b), (x, rows), values)


def _symmetric_variable(rng: np.random.Generator, n: int) -> Instance:
    """Minimise 1/2 |X - C|^2 subject to X = X', X 1 = b, X_ii <= u_i, X_ij >= 0 for i < j; X (n, n)."""
    X, C = cp.Variable((n, n), symmetric=True), cp.Parameter((n, n), symmetric=True)
    b, u = cp.Parameter(n), cp.Parameter(n)
    sums, diagonal = cp.sum(X, axis=1) == b, cp.diag(X) <= u
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - C) / 2), [sums, diagonal, cp.upper_tri(X) >= 0])
    matrix = rng.standard_normal((n, n))
    values = ((matrix + matrix.T) / 2, rng.uniform(1, 3, n), rng.uniform(0, 1, n))
    return Instance(problem, (C, b, u), (X, sums, diagonal), values)


def _maximization(rng: np.random.Generator, n: int) -> Instance:
    """Maximise q'x - 1/2 |F x|^2 subject to A x = b (2 rows), G x <= h (n rows), x >= lower."""
    x, q, F = cp.Variable(n), cp.Parameter(n), cp.Parameter((n, n))
    A, b, G, h, lower = (cp.Parameter(shape) for shape in ((2, n), 2, (n, n), n, n))
    contracts, resources, floor = A @ x == b, G @ x <= h, x >= lower
    problem = cp.Problem(cp.Maximize(q @ x - cp.sum_squares(F @ x) / 2), [contracts, resources, floor])
    matrices = (np.eye(n) + 0.5 * rng.standard_normal((n, n)) / np.sqrt(n), rng.uniform(0, 1, (2, n)))
    use, point = np.eye(n) + rng.uniform(0, 2, (n, n)) / n, rng.uniform(0.5, 1, n)
    bounds = (use, use @ point + rng.uniform(0, 0.3, n), point - rng.uniform(0.1, 0.7, n))
    values = (rng.uniform(-1, 5, n), *matrices, matrices[1] @ point, *bounds)
    return Instance(problem, (q, F, A, b, G, h, lower), (x, contracts, resources, floor), values)


def _scalar_problem(rng: np.random.Generator, _size: int) -> Instance:
    """Minimise (x - z)^2 + w |x| subject to x <= u, all scalars, whatever the size."""
    x, z, w, u = cp.Variable(), cp.Parameter(), cp.Parameter(nonneg=True), cp.Parameter()
    limit = x <= u
    problem = cp.Problem(cp.Minimize(cp.square(x - z) + w * cp.abs(x)), [limit])
    values = (np.array(rng.uniform(2, 3)), np.array(rng.uniform(0.5, 1)), np.array(rng.uniform(0.5, 1)))
    return Instance(problem, (z, w, u), (x, limit), values)


FAMILIES: tuple[Family, ...] = (
    Family("least_squares", _least_squares, 8, (20, 100)),
    Family("ridge", _ridge, 8, (20, 100)),
    Family("lasso", _lasso, 10, (30, 100)),
    Family("elastic_net", _elastic_net, 10, (30, 100)),
    Family("nonnegative_least_squares", _nonnegative_least_squares, 10, (30, 100)),
    Family("svm", _svm, 5, (20, 50)),
    Family("quantile_regression", _quantile_regression, 4, (10, 30)),
    Family("portfolio", _portfolio, 12, (30, 100)),
    Family("mpc", _mpc, 5, (20, 50)),
    Family("lqr", _lqr, 5, (20, 50)),
    Family("simplex_projection", _simplex_projection, 20, (100, 1000)),
    Family("capped_simplex_projection", _capped_simplex_projection, 16, (100, 1000)),
    Family("box_projection", _box_projection, 15, (100, 1000)),
    Family("polytope_projection", _polytope_projection, 10, (30, 100)),
    Family("tv_denoising", _tv_denoising, 24, (100, 1000)),
    Family("transport", _transport, 5, (10, 20), unique_dual=False),
    Family("network_flow", _network_flow, 10, (30, 100)),
    Family("lp_vertex", _lp_vertex, 8, (30, 100)),
    Family("dense_qp", _dense_qp, 10, (10, 30, 100)),
    Family("diagonal_qp", _diagonal_qp, 10, (30, 100)),
    Family("symmetric_variable", _symmetric_variable, 5, (10, 30)),
    Family("maximization", _maximization, 10, (30, 100)),
    Family("scalar_problem", _scalar_problem, 1, (1,)),
)

_BY_NAME = {each.name: each for each in FAMILIES}
