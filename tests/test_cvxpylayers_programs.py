"""Programs as they are written for cvxpylayers, with another import: the same constructor, call and `solver_args`.

What cvxpylayers' users build, from its readme and tutorials and from the papers behind them (Agrawal et al., 2019 and
2020; Amos and Kolter, 2017). Every test compares numbers with a closed form, an algorithm of its own or central
differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import torch
from jax.test_util import check_grads
from oracles import STEP

from optlayers.jax import CvxpyLayer as JaxLayer
from optlayers.torch import CvxpyLayer

EXACT = 1e-10
"""Relative error of values and derivatives that have a closed form: 1e-9 is promised, rounding is usual."""

DIFFERENCES = 1e-7
"""Relative error of central differences, whose truncation is of the order of STEP^2 times a third derivative, and
whose rounding a loop of solutions amplifies."""

ULPS = 10
"""Units in the last place by which a function's value may be wrong: all of a difference where the gradient is zero."""

Scalar = Callable[..., torch.Tensor]


def tensors(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]


def require_close(ours: Any, expected: Any, tolerance: float = EXACT) -> None:
    """Relative to the largest entry expected."""
    a, b = (np.asarray(each.detach() if torch.is_tensor(each) else each) for each in (ours, expected))
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


def require_gradient(function: Scalar, arguments: Sequence[torch.Tensor], tolerance: float = DIFFERENCES) -> None:
    """Each argument's gradient, along a random direction, is the central difference of the function."""
    rng = np.random.default_rng(1)
    value = function(*arguments)
    gradients = torch.autograd.grad(value, arguments)
    rounding = ULPS * np.finfo(np.float64).eps * abs(value.item()) / STEP
    for place, (argument, gradient) in enumerate(zip(arguments, gradients, strict=True)):
        direction = torch.tensor(rng.standard_normal(argument.shape))
        with torch.no_grad():
            ahead, behind = (
                function(*arguments[:place], argument + step * direction, *arguments[place + 1 :])
                for step in (STEP, -STEP)
            )
        expected, ours = float((ahead - behind) / (2 * STEP)), float((gradient * direction).sum())
        scale = max(abs(expected), float(gradient.abs().max()))
        assert abs(ours - expected) <= tolerance * scale + rounding, f"argument {place}: {ours} instead of {expected}"


# The first program of the readme, in both frameworks


def least_absolute_deviations() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    x = cp.Variable(2)
    A, b = cp.Parameter((3, 2)), cp.Parameter(3)
    return cp.Problem(cp.Minimize(0.5 * cp.pnorm(A @ x - b, p=1)), [x >= 0]), [A, b], [x]


def test_readme_in_torch() -> None:
    problem, (A, b), (x,) = least_absolute_deviations()
    assert problem.is_dpp()
    cvxpylayer = CvxpyLayer(problem, parameters=[A, b], variables=[x])
    torch.manual_seed(0)
    A_tch = torch.randn(3, 2, requires_grad=True)
    b_tch = torch.randn(3, requires_grad=True)
    (solution,) = cvxpylayer(A_tch, b_tch)
    solution.sum().backward()
    A.value, b.value = A_tch.detach().double().numpy(), b_tch.detach().double().numpy()
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    require_close(solution, x.value, 2 * torch.finfo().eps)
    in_double = [torch.tensor(parameter.value, requires_grad=True) for parameter in (A, b)]
    require_gradient(lambda A, b: cvxpylayer(A, b)[0].sum(), in_double)
    cvxpylayer(*in_double)[0].sum().backward()
    for single, double in zip((A_tch, b_tch), in_double, strict=True):
        require_close(single.grad, double.grad, 2 * torch.finfo().eps)
    assert A_tch.grad.abs().max() > 0.1


def test_readme_in_jax() -> None:
    problem, (A, b), (x,) = least_absolute_deviations()
    cvxpylayer = JaxLayer(problem, parameters=[A, b], variables=[x])
    key_A, key_b = jax.random.split(jax.random.PRNGKey(0))
    A_jax, b_jax = jax.random.normal(key_A, shape=(3, 2)), jax.random.normal(key_b, shape=(3,))
    dcvxpylayer = jax.grad(lambda A, b: sum(cvxpylayer(A, b)[0]), argnums=[0, 1])
    gradA, gradb = dcvxpylayer(A_jax, b_jax)
    A_tch, b_tch = (torch.tensor(np.array(each), requires_grad=True) for each in (A_jax, b_jax))
    CvxpyLayer(problem, parameters=[A, b], variables=[x])(A_tch, b_tch)[0].sum().backward()
    require_close(gradA, A_tch.grad)
    require_close(gradb, b_tch.grad)
    check_grads(lambda A, b: cvxpylayer(A, b)[0], (A_jax, b_jax), order=1, rtol=1e-6, atol=1e-6)


# Activations as optimization problems


def projection(kind: str, n: int) -> CvxpyLayer:
    """x -> the activation of x, as the minimiser of a strictly convex problem."""
    x, y = cp.Parameter(n), cp.Variable(n)
    objective, constraints = {
        "relu": (cp.sum_squares(y - x), [y >= 0]),
        "sigmoid": (-x @ y - cp.sum(cp.entr(y) + cp.entr(1 - y)), []),
        "softmax": (-x @ y - cp.sum(cp.entr(y)), [cp.sum(y) == 1]),
        "sparsemax": (cp.sum_squares(x - y), [cp.sum(y) == 1, y >= 0, y <= 1]),
    }[kind]
    return CvxpyLayer(cp.Problem(cp.Minimize(objective), constraints), parameters=[x], variables=[y])


def sparsemax(x: torch.Tensor) -> torch.Tensor:
    """max(x - tau, 0) with tau from sorting (Martins and Astudillo, 2016)."""
    descending = x.sort(dim=-1, descending=True).values
    count = torch.arange(1, x.shape[-1] + 1)
    tau = (descending.cumsum(dim=-1) - 1) / count
    support = (descending > tau).sum(dim=-1, keepdim=True)
    return (x - tau.gather(-1, support - 1)).clamp(min=0)


@pytest.mark.parametrize(
    ("kind", "closed_form"),
    [
        ("relu", torch.relu),
        ("sigmoid", torch.sigmoid),
        ("softmax", lambda x: torch.softmax(x, dim=-1)),
        ("sparsemax", sparsemax),
    ],
)
def test_activations(kind: str, closed_form: Callable[[torch.Tensor], torch.Tensor]) -> None:
    layer = projection(kind, 5)
    rng = np.random.default_rng(0)
    (x,) = tensors(rng, (8, 5))
    g = torch.tensor(rng.standard_normal((8, 5)))
    (ours,) = layer(x)
    expected = closed_form(x)
    require_close(ours, expected)
    require_close(*(torch.autograd.grad(output, x, g)[0] for output in (ours, expected)))


# Layers within networks


class QuadraticLayer(torch.nn.Module):
    """p -> argmin 1/2 |L z|^2 + p'z  subject to  A z = b,  G z <= G z0 + s0, everything but p learned."""

    def __init__(self, n: int, equalities: int, inequalities: int) -> None:
        super().__init__()
        z, L, p = cp.Variable(n), cp.Parameter((n, n)), cp.Parameter(n)
        A, b = cp.Parameter((equalities, n)), cp.Parameter(equalities)
        G, h = cp.Parameter((inequalities, n)), cp.Parameter(inequalities)
        objective = cp.Minimize(0.5 * cp.sum_squares(L @ z) + p @ z)
        self.layer = CvxpyLayer(cp.Problem(objective, [A @ z == b, G @ z <= h]), [L, p, A, b, G, h], [z])
        self.L = torch.nn.Parameter(torch.eye(n) + 0.3 * torch.randn(n, n))
        self.A = torch.nn.Parameter(torch.randn(equalities, n))
        self.G = torch.nn.Parameter(torch.randn(inequalities, n))
        self.z0 = torch.nn.Parameter(torch.randn(n))
        self.s0 = torch.nn.Parameter(0.5 * torch.ones(inequalities))

    def forward(self, p: torch.Tensor) -> torch.Tensor:
        (z,) = self.layer(self.L, p, self.A, self.A @ self.z0, self.G, self.G @ self.z0 + self.s0)
        return z


def test_a_quadratic_layer_within_a_network() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 6), torch.nn.Tanh(), QuadraticLayer(6, 2, 4), torch.nn.Linear(6, 2)
    ).double()
    x, target = torch.randn(3, 3).double(), torch.randn(3, 2).double()
    parameters = dict(network.named_parameters())
    assert len(parameters) == 9
    assert not any("layer" in name for name in network.state_dict())

    def loss(*values: torch.Tensor) -> torch.Tensor:
        predicted = torch.func.functional_call(network, dict(zip(parameters, values, strict=True)), x)
        return (predicted - target).square().mean()

    z = torch.func.functional_call(network[2], {}, network[:2](x))
    slack = network[2].s0 - (z - network[2].z0) @ network[2].G.T
    assert 0 < int((slack < 1e-9).sum()) < slack.numel()
    require_close(z @ network[2].A.T, (network[2].A @ network[2].z0).expand(3, 2), 1e-9)
    require_gradient(loss, list(parameters.values()), 1e-6)

    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        value = loss(*network.parameters())
        value.backward()
        optimiser.step()
        losses.append(value.item())
    assert losses[-1] < 0.8 * losses[0]


def pool_adjacent_violators(targets: np.ndarray) -> list[list[int]]:
    """The blocks of the isotonic regression, whose values are the means of their targets."""
    blocks: list[list[int]] = []
    for place in range(len(targets)):
        blocks.append([place])
        while len(blocks) > 1 and targets[blocks[-2]].mean() >= targets[blocks[-1]].mean():
            last = blocks.pop()
            blocks[-1] += last
    return blocks


def test_monotone_outputs_of_a_regression() -> None:
    """theta is learned through argmin |y - X theta|^2 over increasing y; the projection averages within blocks."""
    n, features = 8, 3
    y, prediction = cp.Variable(n), cp.Parameter(n)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(y - prediction)), [cp.diff(y) >= 0])
    layer = CvxpyLayer(problem, parameters=[prediction], variables=[y])
    rng = np.random.default_rng(2)
    X, target = torch.tensor(rng.standard_normal((n, features))), torch.tensor(np.sort(rng.standard_normal(n)))
    (theta,) = tensors(rng, (features,))
    (fitted,) = layer(X @ theta)
    (fitted - target).square().sum().backward()
    blocks = pool_adjacent_violators((X @ theta).detach().numpy())
    assert 1 < len(blocks) < n
    averaging = np.zeros((n, n))
    for block in blocks:
        averaging[np.ix_(block, block)] = 1 / len(block)
    expected = averaging @ (X @ theta).detach().numpy()
    require_close(fitted, expected)
    require_close(theta.grad, 2 * X.numpy().T @ averaging @ (expected - target.numpy()))


# Learning at two levels


def fit_by_newton(X: np.ndarray, labels: np.ndarray, ridge: float) -> np.ndarray:
    """argmin sum log(1 + exp(-labels X theta)) + ridge |theta|^2."""
    theta = np.zeros(X.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(labels * (X @ theta)))
        gradient = -X.T @ (labels * p) + 2 * ridge * theta
        theta -= np.linalg.solve(X.T @ ((p * (1 - p))[:, None] * X) + 2 * ridge * np.eye(len(theta)), gradient)
    return theta


def test_poisoning_the_data_of_a_logistic_regression() -> None:
    """How the loss on test data changes with every training point, as seen by a fit of our own."""
    n, features, ridge = 12, 2, 0.1
    rng = np.random.default_rng(0)
    labels, X_test = np.sign(rng.standard_normal(n)), torch.tensor(rng.standard_normal((20, features)))
    y_test = torch.tensor(np.sign(rng.standard_normal(20)))
    theta, X = cp.Variable(features), cp.Parameter((n, features))
    likelihood = cp.sum(cp.logistic(cp.multiply(-labels, X @ theta)))
    problem = cp.Problem(cp.Minimize(likelihood + ridge * cp.sum_squares(theta)))
    layer = CvxpyLayer(problem, parameters=[X], variables=[theta])

    def test_loss(theta: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(-y_test * (X_test @ theta)).mean()

    (X_train,) = tensors(rng, (n, features))
    (fitted,) = layer(X_train)
    require_close(fitted, fit_by_newton(X_train.detach().numpy(), labels, ridge), 1e-9)
    (gradient,) = torch.autograd.grad(test_loss(fitted), X_train)
    differences = np.zeros((n, features))
    for place in np.ndindex(n, features):
        shift = np.zeros((n, features))
        shift[place] = STEP
        ahead, behind = (
            float(test_loss(torch.tensor(fit_by_newton(X_train.detach().numpy() + sign * shift, labels, ridge))))
            for sign in (1, -1)
        )
        differences[place] = (ahead - behind) / (2 * STEP)
    require_close(gradient, differences, 1e-7)


def test_denoising_with_a_learned_quadratic_penalty() -> None:
    """x = (I + weight D'D)^-1 y, and its derivative by weight and y."""
    n = 10
    x, y, weight = cp.Variable(n), cp.Parameter(n), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - y) + weight * cp.sum_squares(cp.diff(x))))
    layer = CvxpyLayer(problem, parameters=[y, weight], variables=[x])
    rng = np.random.default_rng(0)
    signal = torch.tensor(np.sin(np.arange(n) / 2))
    noisy = torch.tensor(signal.numpy() + 0.3 * rng.standard_normal((4, n)), requires_grad=True)
    strength = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    D = torch.tensor(np.diff(np.eye(n), axis=0))
    (ours,) = layer(noisy, strength)
    expected = torch.linalg.solve(torch.eye(n).double() + strength * D.T @ D, noisy.T).T
    require_close(ours, expected)
    for gradient, closed in zip(
        *(torch.autograd.grad((found - signal).square().mean(), [noisy, strength]) for found in (ours, expected)),
        strict=True,
    ):
        require_close(gradient, closed)


def test_denoising_with_a_learned_total_variation() -> None:
    n = 10
    x, y, weights = cp.Variable(n), cp.Parameter(n), cp.Parameter(n - 1, nonneg=True)
    penalty = cp.norm1(cp.multiply(weights, cp.diff(x)))
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - y) + penalty)), [y, weights], [x])
    rng = np.random.default_rng(0)
    signal = torch.tensor(np.repeat([0.0, 1.0], n // 2))
    noisy = torch.tensor(signal.numpy() + 0.2 * rng.standard_normal(n), requires_grad=True)
    strengths = torch.tensor(rng.uniform(0.1, 0.3, n - 1), requires_grad=True)
    (found,) = layer(noisy, strengths)
    assert 0 < int((found.diff().abs() < 1e-9).sum()) < n - 1
    require_gradient(lambda y, w: (layer(y, w)[0] - signal).square().sum(), [noisy, strengths])


# Policies


def test_approximate_dynamic_programming() -> None:
    """u = argmin |u|^2 + |L (A x + B u)|^2, |u| <= limit, with the quadratic value function |L x|^2.

    Where the limit does not bind and L'L solves the Riccati equation, the policy is the linear regulator's; then the
    gradient of the cost of a closed loop, in which it does bind, by L.
    """
    n, m, limit = 3, 2, 0.6
    rng = np.random.default_rng(0)
    A, B = 0.9 * np.eye(n) + 0.3 * rng.standard_normal((n, n)), rng.standard_normal((n, m))
    u, ahead, LB = cp.Variable(m), cp.Parameter(n), cp.Parameter((n, m))
    problem = cp.Problem(cp.Minimize(cp.sum_squares(u) + cp.sum_squares(ahead + LB @ u)), [cp.norm(u) <= limit])
    policy = CvxpyLayer(problem, parameters=[ahead, LB], variables=[u])
    A_tch, B_tch = torch.tensor(A), torch.tensor(B)

    def act(L: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return policy(x @ (L @ A_tch).T, L @ B_tch)[0]

    def cost(L: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        x, total = start, torch.zeros((), dtype=torch.float64)
        for _ in range(4):
            u = act(L, x)
            total = total + x.square().sum() + u.square().sum()
            x = x @ A_tch.T + u @ B_tch.T
        return total / len(start)

    P = scipy.linalg.solve_discrete_are(A, B, np.eye(n), np.eye(m))
    root = torch.tensor(np.linalg.cholesky(P).T.copy(), requires_grad=True)
    small = torch.tensor(0.1 * rng.standard_normal((5, n)))
    gain = np.linalg.solve(np.eye(m) + B.T @ P @ B, B.T @ P @ A)
    require_close(act(root, small), -small.numpy() @ gain.T, 1e-9)
    large = torch.tensor(rng.standard_normal((5, n)), requires_grad=True)
    norms = act(root, large).detach().norm(dim=-1)
    assert 0 < int((norms > limit - 1e-9).sum()) < 5
    require_gradient(cost, [root, large], 1e-6)


def test_robust_least_squares() -> None:
    """min |A x - b| + rho |x|: the worst case over perturbations of A of norm rho (El Ghaoui and Lebret, 1997)."""
    x, A, b, rho = cp.Variable(3), cp.Parameter((6, 3)), cp.Parameter(6), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.norm(A @ x - b) + rho * cp.norm(x)))
    layer = CvxpyLayer(problem, parameters=[A, b, rho], variables=[x])
    rng = np.random.default_rng(0)
    values = [*tensors(rng, (6, 3), (6,)), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)]
    (found,) = layer(*values)
    data, target, radius = (value.detach().numpy() for value in values)
    solution = found.detach().numpy()
    ridge = radius * np.linalg.norm(data @ solution - target) / np.linalg.norm(solution)
    require_close(found, np.linalg.solve(data.T @ data + ridge * np.eye(3), data.T @ target), 1e-9)
    require_gradient(lambda *arguments: layer(*arguments)[0].square().sum(), values)


def test_portfolio_with_a_limit_on_trade() -> None:
    n, factors = 5, 2
    w, mu, held = cp.Variable(n), cp.Parameter(n), cp.Parameter(n)
    F, d = cp.Parameter((factors, n)), cp.Parameter(n, nonneg=True)
    turnover = cp.Parameter(nonneg=True)
    risk = cp.sum_squares(F @ w) + cp.sum_squares(cp.multiply(d, w))
    constraints = [cp.sum(w) == 1, w >= 0, cp.norm1(w - held) <= turnover]
    layer = CvxpyLayer(cp.Problem(cp.Maximize(mu @ w - risk), constraints), [mu, held, F, d, turnover], [w])
    rng = np.random.default_rng(0)
    values = [
        torch.tensor(rng.standard_normal(n), requires_grad=True),
        torch.full((n,), 1 / n, dtype=torch.float64, requires_grad=True),
        torch.tensor(rng.standard_normal((factors, n)), requires_grad=True),
        torch.tensor(rng.uniform(0.3, 0.6, n), requires_grad=True),
        torch.tensor(0.5, dtype=torch.float64, requires_grad=True),
    ]
    (weights,) = layer(*values)
    require_close((weights - values[1]).abs().sum(), 0.5)
    g = torch.tensor(rng.standard_normal(n))
    require_gradient(lambda *arguments: layer(*arguments)[0] @ g, values)


def test_supply_chain_policy() -> None:
    """Orders, shipments and sales of a network with one warehouse and two shops, by a learned value of the stocks."""
    nodes, links = 3, 5
    into = np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]], dtype=float)
    out_of = np.array([[0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]], dtype=float)
    h, price, demand = cp.Parameter(nodes, nonneg=True), cp.Parameter(), cp.Parameter(2, nonneg=True)
    root, linear = cp.Parameter((nodes, nodes)), cp.Parameter(nodes)
    u, after = cp.Variable(links), cp.Variable(nodes)
    worth = cp.sum_squares(root @ after) + linear @ after
    objective = price * u[0] + 0.1 * cp.sum(u[1:3]) - 1.5 * cp.sum(u[3:]) + 0.05 * cp.sum_squares(u) + worth
    constraints = [after == h + (into - out_of) @ u, after <= 3, u >= 0, u <= 2, u[3:] <= demand, out_of @ u <= h]
    layer = CvxpyLayer(cp.Problem(cp.Minimize(objective), constraints), [h, price, demand, root, linear], [u])
    rng = np.random.default_rng(0)
    prices, demands = torch.tensor(rng.uniform(0.4, 0.8, 4)), torch.tensor(rng.uniform(0.2, 0.6, (4, 2)))
    moves = torch.tensor(into - out_of)

    def cost(root: torch.Tensor, linear: torch.Tensor, stocks: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for price, demand in zip(prices, demands, strict=True):
            (u,) = layer(stocks, price, demand, root, linear)
            total = total + price * u[0] + 0.1 * u[1:3].sum() - 1.5 * u[3:].sum() + 0.2 * stocks.sum()
            stocks = (stocks + moves @ u).clamp(min=0)
        return total

    root_value = torch.tensor(0.5 * np.eye(nodes) + 0.1 * rng.standard_normal((nodes, nodes)), requires_grad=True)
    linear_value = torch.tensor([-0.9, -1.1, -1.0], dtype=torch.float64, requires_grad=True)
    stocks = torch.tensor([1.0, 0.6, 0.5], dtype=torch.float64, requires_grad=True)
    require_gradient(cost, [root_value, linear_value, stocks], 1e-6)


# Geometric programs, options, batches, dual variables


def box() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """The box of largest volume whose half-surface times a is at most b, and which is at least as long as y^c."""
    x, y, z = (cp.Variable(pos=True) for _ in range(3))
    a, b, c = cp.Parameter(pos=True), cp.Parameter(pos=True), cp.Parameter()
    constraints = [a * (x * y + x * z + y * z) <= b, x >= y**c]
    return cp.Problem(cp.Minimize(1 / (x * y * z)), constraints), [a, b, c], [x, y, z]


def test_geometric_program_that_binds() -> None:
    problem, parameters, variables = box()
    layer = CvxpyLayer(problem, parameters=parameters, variables=variables, gp=True)
    values = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (2.0, 1.0, 0.5)]
    x, y, z = layer(*values)
    require_close(x, y**0.5)
    require_close(2 * (x * y + x * z + y * z), 1.0)
    require_gradient(lambda *arguments: sum(layer(*arguments)), values)


def test_geometric_program_with_a_closed_form() -> None:
    """With c = 5 the shape does not bind, and all sides are sqrt(b / 3a)."""
    problem, parameters, variables = box()
    layer = CvxpyLayer(problem, parameters=parameters, variables=variables, gp=True)
    values = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (2.0, 1.0, 5.0)]
    sides = layer(*values)
    side = (1 / 6) ** 0.5
    require_close(torch.stack(sides), np.full(3, side))
    slope_a, slope_b, slope_c = torch.autograd.grad(sides[0], values)
    require_close(slope_a, -side / 4)
    require_close(slope_b, side / 2)
    assert abs(float(slope_c)) < EXACT


def test_geometric_program_of_queues() -> None:
    """Arrival and service rates of queues (M/M/1), with limits of waiting time, delay and the rates' sum."""
    n = 2
    service, arrival = cp.Variable(n, pos=True), cp.Variable(n, pos=True)
    costs, waiting = cp.Parameter(n, pos=True), cp.Parameter(n, pos=True)
    delay, total, least = cp.Parameter(n, pos=True), cp.Parameter(pos=True), cp.Parameter(n, pos=True)
    load = cp.multiply(arrival, service**-1)
    length = cp.multiply(load**2, cp.one_minus_pos(load) ** -1)
    constraints = [
        cp.multiply(length, arrival**-1) + service**-1 <= waiting,
        cp.diff_pos(service, arrival) ** -1 <= delay,
        arrival >= least,
        cp.sum(service) <= total,
    ]
    problem = cp.Problem(cp.Minimize(costs @ load**-1), constraints)
    layer = CvxpyLayer(problem, [costs, waiting, delay, total, least], [service, arrival], gp=True)
    values = [
        torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for value in ([1.0, 2.0], [1.8, 3.0], [2.0, 2.0], 3.0, [0.5, 0.8])
    ]
    rates, arrivals = (found.detach().numpy() for found in layer(*values))
    require_close(rates.sum(), 3.0)
    require_close(1 / (rates - arrivals), [1.8, 2.0])
    g = torch.tensor([1.0, -2.0], dtype=torch.float64)
    require_gradient(lambda *arguments: sum(found @ g for found in layer(*arguments)), values)


@pytest.mark.parametrize("at", ["the call", "the constructor"])
@pytest.mark.parametrize(
    "solver_args",
    [
        {"eps": 1e-8, "max_iters": 10000, "acceleration_lookback": 0},
        {"solve_method": "SCS", "eps": 1e-10, "n_jobs_forward": 1, "n_jobs_backward": 1, "mode": "lsqr"},
        {"solve_method": "Clarabel"},
    ],
    ids=["eps", "SCS", "Clarabel"],
)
def test_solver_args(solver_args: dict[str, Any], at: str) -> None:
    x, y = cp.Parameter(4), cp.Variable(4)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(y - x)), [cp.sum(y) == 1, y >= 0])
    values = torch.tensor([0.3, 1.2, -0.7, 0.9], dtype=torch.float64, requires_grad=True)
    if at == "the call":
        (found,) = CvxpyLayer(problem, [x], [y])(values, solver_args=solver_args)
    else:
        (found,) = CvxpyLayer(problem, [x], [y], solver_args=solver_args)(values)
    require_close(found, sparsemax(values), 1e-9)
    g = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    require_close(*(torch.autograd.grad(output @ g, values)[0] for output in (found, sparsemax(values))), 1e-9)


@pytest.mark.parametrize("solver", [cp.CLARABEL, cp.SCS, cp.OSQP])
def test_solvers_by_their_names_in_cvxpy(solver: str) -> None:
    x, y = cp.Parameter(4), cp.Variable(4)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(y - x)), [cp.sum(y) == 1, y >= 0])
    values = torch.tensor([0.3, 1.2, -0.7, 0.9], dtype=torch.float64)
    require_close(CvxpyLayer(problem, parameters=[x], variables=[y], solver=solver)(values)[0], sparsemax(values), 1e-9)


def ridge_regression() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    x, A, b, weight = cp.Variable(2), cp.Parameter((4, 2)), cp.Parameter(4), cp.Parameter(nonneg=True)
    return cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b) + weight * cp.sum_squares(x))), [A, b, weight], [x]


@pytest.mark.parametrize("batched", ["A", "b", "weight", "A b", "b weight", "A b weight", ""])
def test_batched_parameters_beside_unbatched_ones(batched: str) -> None:
    """Each element is the closed form; what is not batched gets the sum of its gradients."""
    problem, parameters, variables = ridge_regression()
    layer = CvxpyLayer(problem, parameters=parameters, variables=variables)
    rng = np.random.default_rng(0)
    axes = {name: (3,) if name in batched.split() else () for name in ("A", "b", "weight")}
    A, b = tensors(rng, (*axes["A"], 4, 2), (*axes["b"], 4))
    weight = torch.tensor(rng.uniform(0.5, 1.0, axes["weight"]), requires_grad=True)
    (ours,) = layer(A, b, weight)
    normal = A.mT @ A + weight[..., None, None] * torch.eye(2).double()
    expected = torch.linalg.solve(normal, (A.mT @ b[..., None])).squeeze(-1)
    require_close(ours, expected)
    for gradient, closed in zip(
        *(torch.autograd.grad(found.square().sum(), [A, b, weight]) for found in (ours, expected)), strict=True
    ):
        require_close(gradient, closed)


def test_batched_parameters_beside_unbatched_ones_in_jax() -> None:
    problem, parameters, variables = ridge_regression()
    layer = JaxLayer(problem, parameters=parameters, variables=variables)
    rng = np.random.default_rng(0)
    A, b, weight = (jnp.asarray(rng.standard_normal(shape)) for shape in ((4, 2), (3, 4), ()))
    weight = weight**2 + 0.5

    def closed_form(A: jax.Array, b: jax.Array, weight: jax.Array) -> jax.Array:
        return b @ A @ jnp.linalg.inv(A.T @ A + weight * jnp.eye(2))

    require_close(layer(A, b, weight)[0], closed_form(A, b, weight))
    for ours, closed in zip(
        jax.grad(lambda *values: jnp.sum(layer(*values)[0] ** 2), argnums=(0, 1, 2))(A, b, weight),
        jax.grad(lambda *values: jnp.sum(closed_form(*values) ** 2), argnums=(0, 1, 2))(A, b, weight),
        strict=True,
    ):
        require_close(ours, closed)


def test_dual_variables_as_outputs() -> None:
    """min |x - c|^2, sum x = 1: the price of the budget is 2 (sum c - 1) / n in CVXPY's sign."""
    x, c = cp.Variable(3), cp.Parameter(3)
    budget = cp.sum(x) == 1
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [budget])
    layer = CvxpyLayer(problem, parameters=[c], variables=[x, budget.dual_variables[0]])
    values = torch.tensor([0.2, 1.4, -0.3], dtype=torch.float64, requires_grad=True)
    solution, price = layer(values)
    c.value = values.detach().numpy()
    problem.solve(solver=cp.CLARABEL)
    require_close(price, float(budget.dual_value), 1e-6)
    require_close(price, 2 * (1.3 - 1) / 3)
    require_close(solution, values - (1.3 - 1) / 3)
    require_close(torch.autograd.grad(price, values)[0], np.full(3, 2 / 3))


def test_dual_variable_of_a_semidefinite_constraint() -> None:
    """min tr(C X), tr X = 1, X psd: the dual of X >> 0 is C - lambda_min I, X the projector on its eigenvector."""
    n = 3
    X, C = cp.Variable((n, n), symmetric=True), cp.Parameter((n, n), symmetric=True)
    cone = X >> 0
    problem = cp.Problem(cp.Minimize(cp.trace(C @ X)), [cone, cp.trace(X) == 1])
    layer = CvxpyLayer(problem, parameters=[C], variables=[X, cone.dual_variables[0]])
    half = np.random.default_rng(0).standard_normal((n, n))
    value = torch.tensor(half + half.T, requires_grad=True)
    solution, dual = layer(value)
    eigenvalues, vectors = np.linalg.eigh(value.detach().numpy())
    projector = np.outer(vectors[:, 0], vectors[:, 0])
    require_close(solution, projector, 1e-9)
    require_close(dual, value.detach().numpy() - eigenvalues[0] * np.eye(n), 1e-9)
    (gradient,) = torch.autograd.grad(torch.trace(dual), value)
    require_close(gradient, np.eye(n) - n * projector, 1e-8)
