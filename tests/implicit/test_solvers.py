"""The contract of the iterations: solutions, batches, statuses, derivatives."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pytest
import scipy.optimize
import torch

from optlayers.errors import AccuracyWarning, ArgumentError, ConvergenceError, OptionError, Status
from optlayers.implicit import (
    GMRES,
    LBFGS,
    LU,
    STATUSES,
    AbstractIteration,
    AbstractLinearSolver,
    Anderson,
    Bisection,
    Broyden,
    Equation,
    FixedPointIteration,
    GradientDescent,
    LinearInfo,
    LinearOperator,
    LineSearch,
    Newton,
    Problem,
    run,
    spectral_radius,
)
from optlayers.implicit.linear import LinearSolution
from optlayers.implicit.solvers import Custom, solver_of
from optlayers.torch.framework import TORCH
from optlayers.torch.implicit import argmin, fixed_point, root


@final
@dataclass(frozen=True)
class FrontEnd:
    """A framework's arrays and forms; `grad` of a function of one array."""

    name: str
    framework: Any
    array: Callable[[np.ndarray], Any]
    root: Callable[..., Any]
    fixed_point: Callable[..., Any]
    argmin: Callable[..., Any]
    grad: Callable[..., Any]

    @property
    def xp(self) -> Any:
        return self.framework.xp


FRONT_ENDS = [
    FrontEnd("torch", TORCH, torch.as_tensor, root, fixed_point, argmin, torch.func.grad),
]


@pytest.fixture(params=FRONT_ENDS, ids=lambda front: front.name)
def front(request: pytest.FixtureRequest) -> FrontEnd:
    return request.param


@pytest.fixture(autouse=True)
def unthreaded() -> Any:
    """Small matrices are factored faster by one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


rng = np.random.default_rng(0)
N = 4
A = rng.standard_normal((N, N))
A /= np.linalg.norm(A, 2)
B = rng.standard_normal(N)
WEIGHTS = np.arange(1.0, N + 1)
SCALES = np.array([0.0, 0.1, 0.6, 0.95])
"""Of elements of very different difficulty. The first is solved by its z0."""


def contraction(front: FrontEnd, scale: Any, z0: Any, batch_axes: int, **settings: Any) -> Any:
    """z = scale tanh(A z) + B; scale bounds the derivative of g."""
    xp, matrix, shift = front.xp, front.array(A), front.array(B)

    def g(z: Any, scale: Any) -> Any:
        return scale[..., None] * xp.tanh(z @ matrix.T) + shift

    return front.fixed_point(g, z0, scale, batch_axes=batch_axes, **settings)


def bowl(front: FrontEnd, scale: Any, z0: Any, batch_axes: int, **settings: Any) -> Any:
    """The minimum of |z - B|^2 / 2 + 5 scale sum_i i log cosh(A z)_i."""
    xp, matrix, shift = front.xp, front.array(A), front.array(B)
    weights = front.array(WEIGHTS)

    def phi(z: Any, scale: Any) -> Any:
        return xp.sum((z - shift) ** 2, axis=-1) / 2 + 5 * scale * xp.sum(
            weights * xp.log(xp.cosh(z @ matrix.T)), axis=-1
        )

    return front.argmin(phi, z0, scale, batch_axes=batch_axes, **settings)


SOLVERS: list[AbstractIteration] = [
    Newton(),
    Broyden(),
    Broyden(depth=3, tolerance=1e-9),
    Anderson(),
    Anderson(damping=0.7, depth=2),
    FixedPointIteration(),
    FixedPointIteration(damping=0.8),
]
MINIMIZERS: list[AbstractIteration] = [
    LBFGS(),
    LBFGS(depth=1),
    GradientDescent(),
    GradientDescent(step_length=0.05),
    Newton(),
    Broyden(scale=0.1),
]
CASES = [(contraction, solver) for solver in SOLVERS] + [(bowl, solver) for solver in MINIMIZERS]


def _label(case: Any) -> str:
    problem, solver = case
    changed = {
        name: value
        for name, value in vars(solver).items()
        if isinstance(value, int | float) and value != getattr(type(solver), name)
    }
    return f"{problem.__name__}-{type(solver).__name__}-" + "-".join(
        f"{name}={value}" for name, value in changed.items()
    )


cases = pytest.mark.parametrize(("problem", "solver"), CASES, ids=[_label(case) for case in CASES])


def _numbers(array: Any) -> np.ndarray:
    return np.asarray(array.detach() if isinstance(array, torch.Tensor) else array)


def _expected(problem: Any, scale: float) -> np.ndarray:
    if problem is contraction:
        return scipy.optimize.fsolve(lambda z: z - scale * np.tanh(A @ z) - B, B, xtol=1e-12)
    weights = 5 * scale * WEIGHTS
    return scipy.optimize.fsolve(lambda z: z - B + A.T @ (weights * np.tanh(A @ z)), B, xtol=1e-12)


def _start(front: FrontEnd, count: int) -> Any:
    return front.array(np.broadcast_to(B, (count, N)).copy())


def _statuses(info: Any) -> list[Status]:
    return [STATUSES[place] for place in _numbers(info.status).flat]


@pytest.mark.usefixtures("without_checks")
@cases
def test_a_batch_is_solved_as_each_of_its_elements_alone(front: FrontEnd, problem: Any, solver: Any) -> None:
    z, info = problem(front, front.array(SCALES), _start(front, 4), 1, solver=solver, return_info=True)
    tolerance = solver.tolerance_at(np.finfo(np.float64).eps)
    # Line searches decide by phi, which rounds differently alone; its second derivative is 1 at least.
    closeness = 1e-12 if problem is contraction else 2 * tolerance
    for element, scale in enumerate(SCALES):
        alone, alone_info = problem(
            front, front.array(SCALES[element]), front.array(B), 0, solver=solver, return_info=True
        )
        np.testing.assert_allclose(_numbers(z)[element], _numbers(alone), rtol=0, atol=closeness)
        assert problem is bowl or int(info.iterations[element]) == int(alone_info.iterations)
        # The smallest singular value of I - g' is 0.05 at least.
        np.testing.assert_allclose(_numbers(z)[element], _expected(problem, scale), atol=tolerance / 0.05)
    assert _statuses(info) == [Status.SOLVED] * 4
    assert (_numbers(info.residual) <= tolerance).all()
    assert info.iterations[0] == 0


@pytest.mark.usefixtures("without_checks")
@cases
def test_empty_batches_and_several_batch_axes(front: FrontEnd, problem: Any, solver: Any) -> None:
    empty = problem(front, front.array(np.zeros(0)), front.array(np.zeros((0, N))), 1, solver=solver)
    assert tuple(empty.shape) == (0, N)
    z = problem(front, front.array(SCALES), _start(front, 4), 1, solver=solver)
    square = problem(
        front, front.array(SCALES.reshape(2, 2)), front.array(np.broadcast_to(B, (2, 2, N)).copy()), 2, solver=solver
    )
    tolerance = solver.tolerance_at(np.finfo(np.float64).eps)
    closeness = 1e-12 if problem is contraction else 2 * tolerance
    np.testing.assert_allclose(_numbers(square).reshape(4, N), _numbers(z), rtol=0, atol=closeness)


@cases
def test_single_precision(front: FrontEnd, problem: Any, solver: Any) -> None:
    xp = front.xp
    matrix, shift = front.array(A.astype(np.float32)), front.array(B.astype(np.float32))

    def g(z: Any, scale: Any) -> Any:
        return scale[..., None] * xp.tanh(z @ matrix.T) + shift

    def phi(z: Any, scale: Any) -> Any:
        return xp.sum((z - shift) ** 2, axis=-1) / 2 + scale * xp.sum(xp.log(xp.cosh(z @ matrix.T)), axis=-1)

    call, function = (front.fixed_point, g) if problem is contraction else (front.argmin, phi)
    single = type(solver)(**{**vars(solver), "tolerance": 3e-6})
    z, info = call(
        function,
        front.array(np.tile(B, (4, 1)).astype(np.float32)),
        front.array(SCALES.astype(np.float32)),
        batch_axes=1,
        solver=single,
        return_info=True,
    )
    assert z.dtype == info.residual.dtype == info.contraction.dtype == xp.float32
    assert info.status.dtype == info.iterations.dtype == xp.int32
    assert _statuses(info) == [Status.SOLVED] * 4


@cases
def test_an_iteration_limit_is_reported_and_hits_only_the_hard(front: FrontEnd, problem: Any, solver: Any) -> None:
    short = type(solver)(**{**vars(solver), "max_iterations": 1, "tolerance": 1e-14})
    z, info = problem(front, front.array(SCALES), _start(front, 4), 1, solver=short, return_info=True, on_failure="nan")
    assert _statuses(info) == [Status.SOLVED] + [Status.ITERATION_LIMIT] * 3
    assert np.isnan(_numbers(z)).all(axis=-1).tolist() == [False, True, True, True]


def _slope(problem: Any, scale: float, z: np.ndarray) -> np.ndarray:
    """The derivative of F by scale."""
    return -np.tanh(A @ z) if problem is contraction else 5 * A.T @ (WEIGHTS * np.tanh(A @ z))


def _derivative(problem: Any, scale: float) -> np.ndarray:
    """Of the solution by scale."""
    z = _expected(problem, scale)
    bend = (1 - np.tanh(A @ z) ** 2)[:, None] * A
    jacobian = np.eye(N) + (-scale * bend if problem is contraction else 5 * scale * A.T @ (WEIGHTS[:, None] * bend))
    return -np.linalg.solve(jacobian, _slope(problem, scale, z))


@pytest.mark.usefixtures("without_checks")
@cases
@pytest.mark.parametrize("semantics", ["implicit", "unrolled", "one_step"])
def test_derivatives(front: FrontEnd, problem: Any, solver: Any, semantics: str) -> None:
    weights = np.array([1.0, -2.0, 0.5, 3.0])
    exact = type(solver)(**{**vars(solver), "tolerance": 1e-12})

    def loss(scale: Any) -> Any:
        z = problem(front, scale, _start(front, 4), 1, solver=exact, differentiate=semantics)
        return (z @ front.array(weights)).sum()

    if semantics == "one_step" and (isinstance(solver, LBFGS) or vars(solver).get("step_length", 1.0) is None):
        with pytest.raises(OptionError, match="one_step"):
            loss(front.array(SCALES))
        return
    derivative = _numbers(front.grad(loss)(front.array(SCALES)))
    assert np.isfinite(derivative).all()
    expected = np.array([weights @ _derivative(problem, scale) for scale in SCALES])
    if semantics == "one_step" and not isinstance(solver, Newton):
        length = next(vars(solver)[name] for name in ("damping", "scale", "step_length") if name in vars(solver))
        expected = np.array([-length * weights @ _slope(problem, scale, _expected(problem, scale)) for scale in SCALES])
    if semantics == "unrolled" and vars(solver).get("depth") == 1:
        return  # with one pair the derivatives of the iterates do not converge
    moved = slice(1, None) if semantics == "unrolled" else slice(None)  # no iteration of the first element ran
    tolerance = 1e-4 if semantics == "unrolled" and not isinstance(solver, Newton) else 1e-6
    np.testing.assert_allclose(derivative[moved], expected[moved], rtol=tolerance, atol=tolerance)
    assert semantics != "unrolled" or derivative[0] == 0


@pytest.mark.parametrize("solver", [Newton(), Broyden(), Anderson()], ids=lambda solver: solver.name)
@pytest.mark.parametrize("slope", [2.0, 10.0])
def test_convergence_without_a_contraction(front: FrontEnd, solver: Any, slope: float) -> None:
    def g(z: Any, slope: Any) -> Any:
        return slope * front.xp.cos(z)

    z0, theta = front.array(np.ones(1)), front.array(np.array(slope))
    z = _numbers(front.fixed_point(g, z0, theta, solver=solver))
    np.testing.assert_allclose(z, slope * np.cos(z), atol=1e-9)
    assert slope * np.abs(np.sin(z)) > 1
    with pytest.raises(ConvergenceError, match="stagnated"):
        front.fixed_point(g, z0, theta, solver=FixedPointIteration())


def test_growth_is_reported_as_no_contraction(front: FrontEnd) -> None:
    with pytest.raises(ConvergenceError, match=r"diverged.*\n?.*grew by 3 an iteration: no contraction"):
        front.fixed_point(
            lambda z, t: t * z, front.array(np.ones(2)), front.array(np.array(-3.0)), solver=FixedPointIteration()
        )


@pytest.mark.parametrize("radius", [0.99, 1.5, 3.0, 10.0])
def test_linear_equations_take_as_many_steps_as_theory_says(front: FrontEnd, radius: float) -> None:
    n = 20
    matrix = np.random.default_rng(1).standard_normal((n, n))
    matrix *= radius / np.abs(np.linalg.eigvals(matrix)).max()
    theta = (front.array(matrix), front.array(np.ones(n)))
    expected = np.linalg.solve(np.eye(n) - matrix, np.ones(n))
    tight = {"tolerance": 1e-10}
    for solver, steps in (
        (Anderson(depth=n, **tight), n + 1),
        (Broyden(depth=2 * n, growth=1e7, **tight), 2 * n + 2),
        (Newton(**tight), 1),
    ):
        z, info = front.fixed_point(
            lambda z, t: t[0] @ z + t[1], front.array(np.zeros(n)), theta, solver=solver, return_info=True
        )
        np.testing.assert_allclose(_numbers(z), expected, atol=1e-8)
        assert int(info.iterations) <= steps


def _run(front: FrontEnd, F: Any, z0: Any, theta: Any, solver: Any) -> tuple[np.ndarray, Any]:
    """Without a policy for failures."""
    equation = Equation("root", lambda z, theta: F(z, *theta))
    problem = Problem(front.framework, equation, (front.array(np.array(theta)),))
    z0 = front.array(np.array(z0))
    solver.check(problem, z0)
    z, info = run(problem, solver, z0)
    return _numbers(z), info


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Richardson(AbstractLinearSolver):
    """u <- u + (rhs - A u) / bound, for positive definite A below the bound."""

    bound: float
    name = "Richardson"

    def solve(self, operator: LinearOperator, rhs: Any) -> LinearSolution:
        multiply, u = operator.multiply(), 0 * rhs
        for _ in range(200):
            u = u + (rhs - multiply(u)) / self.bound
        residual = operator.xp.amax(operator.xp.abs(rhs - multiply(u)), axis=-1)
        zero = operator.xp.zeros_like(residual, dtype=operator.xp.int32)
        return LinearSolution(u, LinearInfo(zero, residual, zero + 200, 0 * residual))


@pytest.mark.parametrize("linear", [LU(), Richardson(bound=8.0)], ids=lambda linear: linear.name)
def test_newton_converges_quadratically_with_any_linear_solver(front: FrontEnd, linear: Any) -> None:
    errors = []
    for steps in range(1, 6):
        solver = Newton(max_iterations=steps, tolerance=1e-30, linear=linear)
        z, _ = _run(front, lambda z, t: z**3 + z - t, [1.5], 2.0, solver)
        errors.append(abs(z[0] - 1))
    # The constant is F'' / (2 F') = 3/4 in the limit.
    assert all(new <= 1.0 * old**2 + 1e-15 for old, new in itertools.pairwise(errors))
    assert errors[-1] < 1e-15


def test_statuses_of_newton_leave_other_elements_alone(front: FrontEnd) -> None:
    # A singular derivative at z0; an easy root; none, with a local minimum of |F| at 0.

    def F(z: Any, t: Any) -> Any:
        return z**2 - t[..., None]

    z, info = _run(front, F, [[0.0], [1.0], [1.7]], [1.0, 2.0, -1.0], Newton())
    assert _statuses(info)[:2] == [Status.SINGULAR, Status.SOLVED]
    assert _statuses(info)[2] in (Status.STAGNATED, Status.ITERATION_LIMIT)
    np.testing.assert_allclose(z[:2, 0], [0.0, np.sqrt(2)])
    assert np.isfinite(z).all()


def test_the_last_finite_point_is_kept(front: FrontEnd) -> None:

    def F(z: Any, t: Any) -> Any:
        return front.xp.log(z) - t[..., None]

    z, info = _run(front, F, [[1.0], [1.0]], [-3.0, 0.5], Newton(max_halvings=0))
    assert _statuses(info) == [Status.DIVERGED, Status.SOLVED]
    np.testing.assert_allclose(z[:, 0], [1.0, np.exp(0.5)])
    assert float(info.residual[0]) == 3.0
    z, info = _run(front, F, [[-1.0]], [0.0], Newton())
    assert _statuses(info) == [Status.NOT_FINITE]
    assert int(info.iterations[0]) == 0


def test_stagnation_above_the_tolerance_is_found_early(front: FrontEnd) -> None:
    start = front.array(np.array([1.0], dtype=np.float32))
    for solver, most in ((Newton(), 10), (Broyden(), 250), (Anderson(patience=5), 20)):
        problem = Problem(front.framework, Equation("root", lambda z, t: z**3 + z - 3.1), ())
        _, info = run(problem, type(solver)(**{**vars(solver), "tolerance": 1e-30}), start)
        assert _statuses(info) == [Status.STAGNATED] or float(info.residual) == 0
        assert int(info.iterations) <= most


@pytest.mark.parametrize("solver", [Broyden(), Anderson()], ids=lambda solver: solver.name)
def test_residuals_do_not_blow_up(front: FrontEnd, solver: Any) -> None:
    """Far more than growth times the smallest residual is never moved to."""
    matrix = 10 * np.random.default_rng(3).standard_normal((8, 8))

    def F(z: Any, t: Any) -> Any:
        return z - front.xp.sin(t @ z) - 1

    _, info = _run(front, F, np.zeros(8), matrix, type(solver)(max_iterations=100))
    assert np.isfinite(float(info.residual))
    assert _statuses(info) != [Status.DIVERGED]


def test_bisection(front: FrontEnd) -> None:

    def F(z: Any, t: Any) -> Any:
        return z**3 - t[..., None]

    high = front.array(np.array([1.0, 2.0, 5.0, 5.0, 3.0]))
    z, info = _run(front, F, np.ones((5, 1)), [0.1, 1.0, 8.0, -3.0, 27.0], Bisection(low=0.0, high=high))
    assert _statuses(info) == [Status.SOLVED] * 3 + [Status.NO_SIGN_CHANGE] + [Status.SOLVED]
    np.testing.assert_allclose(z[[0, 1, 2, 4], 0], np.cbrt([0.1, 1.0, 8.0, 27.0]), atol=1e-9)
    # Too steep, a jump, a pole: the interval shrinks to neighbouring numbers.

    def extreme(z: Any, t: Any) -> Any:
        return front.xp.concatenate([1e9 * (z[:1] ** 2 - t), front.xp.sign(z[1:2] - 0.3) + 0.5, 1 / (z[2:] - 0.3)])

    z, info = _run(front, extreme, np.ones((3, 1)), 2.0, Bisection(low=-1.0, high=2.0))
    assert _statuses(info) == [Status.INACCURATE, Status.INACCURATE, Status.DIVERGED]
    np.testing.assert_allclose(z[:, 0], [np.sqrt(2), 0.3, 0.3], rtol=1e-8)
    with pytest.warns(AccuracyWarning, match="not to the requested accuracy"):
        front.root(
            lambda z, t: 1e9 * (z**2 - t), front.array(np.ones(1)), front.array(np.array(2.0)),
            solver=Bisection(low=0.0, high=2.0),
        )  # fmt: skip
    with pytest.raises(OptionError, match="one unknown"):
        _run(front, lambda z, t: z - t, np.ones(2), 0.0, Bisection(low=0.0, high=1.0))
    with pytest.raises(OptionError, match=r"high.*shape \(5,\)"):
        _run(front, lambda z, t: z - t, np.ones((2, 1)), 0.0, Bisection(low=0.0, high=high))
    with pytest.raises(OptionError, match="no steps"):
        front.root(
            lambda z, t: z - t, front.array(np.ones(1)), front.array(np.array(0.5)),
            solver=Bisection(low=0.0, high=1.0), differentiate="unrolled",
        )  # fmt: skip


def test_a_function_as_solver_is_judged_and_differentiated_implicitly(front: FrontEnd) -> None:
    def babylonian(F: Any, z: Any) -> Any:
        for _ in range(5):
            z = z - F(z) / (2 * z)
        return z

    def solution(t: Any, **settings: Any) -> Any:
        return front.root(
            lambda z, t: z**2 - t[..., None],
            front.array(np.ones((3, 1))),
            t,
            batch_axes=1,
            solver=babylonian,
            **settings,
        )

    t = front.array(np.array([1.0, 2.0, 1e4]))
    _, info = solution(t, return_info=True, on_failure="nan")
    assert _statuses(info) == [Status.SOLVED, Status.SOLVED, Status.UNSOLVED]
    assert _numbers(info.iterations).tolist() == [0, 1, 1]
    derivative = front.grad(lambda t: solution(t).sum())(front.array(np.array([1.0, 2.0, 3.0])))
    np.testing.assert_allclose(_numbers(derivative), 0.5 / np.sqrt([1.0, 2.0, 3.0]), atol=1e-9)
    for semantics in ("unrolled", "one_step"):
        with pytest.raises(OptionError, match="the given function has no steps"):
            solution(t, differentiate=semantics)
    with pytest.raises(ArgumentError, match=r"must return z like z0.*\(3, 1\).*not float"):
        front.root(
            lambda z, t: z - 2 + 0 * t, front.array(np.ones((3, 1))), front.array(np.array(1.0)), batch_axes=1,
            solver=lambda F, z: 1.0,
        )  # fmt: skip


def test_trees(front: FrontEnd) -> None:
    theta = front.array(np.array([2.0, 3.0]))
    for solver in (Newton(), Broyden(), Anderson()):
        z = front.root(
            lambda z, t: {"x": z["x"] - t, "y": (z["x"] * z["y"][0] - 1,)},
            {"x": front.array(np.ones(2)), "y": (front.array(np.ones(2)),)},
            theta,
            solver=solver,
        )
        np.testing.assert_allclose(_numbers(z["x"]), [2, 3], atol=1e-9)
        np.testing.assert_allclose(_numbers(z["y"][0]), [1 / 2, 1 / 3], atol=1e-9)


def _rosenbrock(z: Any, t: Any) -> Any:
    return ((t - z[..., :-1]) ** 2 + 100 * (z[..., 1:] - z[..., :-1] ** 2) ** 2).sum(-1)


@pytest.mark.parametrize("solver", [LBFGS(), GradientDescent(), Newton()], ids=lambda solver: solver.name)
def test_rosenbrock(front: FrontEnd, solver: Any) -> None:
    z = front.argmin(_rosenbrock, front.array(np.array([-1.2, 1.0])), front.array(np.array(1.0)), solver=solver)
    np.testing.assert_allclose(_numbers(z), [1.0, 1.0], atol=1e-7)


@pytest.mark.usefixtures("without_checks")
def test_logistic_regression(front: FrontEnd) -> None:
    xp, random = front.xp, np.random.default_rng(4)
    X = random.standard_normal((60, 5)) * [1, 2, 4, 8, 16]
    y = np.sign(random.standard_normal(60))
    penalties = np.array([1.0, 1e-2])

    def phi(z: Any, theta: Any) -> Any:
        X, y, penalty = theta
        losses = xp.logaddexp(xp.zeros_like(y), -y * (z @ X.T))
        return losses.sum(-1) + penalty * (z**2).sum(-1) / 2

    theta = (front.array(X), front.array(y), front.array(penalties))
    reference = [
        scipy.optimize.minimize(
            lambda w, p=p: np.logaddexp(0, -y * (X @ w)).sum() + p * w @ w / 2,
            np.zeros(5), jac=lambda w, p=p: -X.T @ (y / (1 + np.exp(y * (X @ w)))) + p * w,
            method="BFGS", options={"gtol": 1e-9},
        ).x
        for p in penalties
    ]  # fmt: skip
    for solver in (LBFGS(), GradientDescent(), Newton(), None):
        z, info = front.argmin(phi, front.array(np.zeros((2, 5))), theta, batch_axes=1, solver=solver, return_info=True)
        assert (_numbers(info.residual) <= 1e-10).all()
        np.testing.assert_allclose(_numbers(z), reference, atol=1e-8)


def test_small_gradients_are_reached_where_phi_is_flat_to_rounding(front: FrontEnd) -> None:
    """phi has an offset of 1e6, so its differences drown at |z| = 1e-5, gradients of 1e-5."""
    scales = front.array(np.array([1.0, 3.0, 10.0]))
    for solver in (LBFGS(tolerance=1e-9), GradientDescent(tolerance=1e-9)):
        z = front.argmin(
            lambda z, t: 1e6 + front.xp.sum(t * front.xp.log(front.xp.cosh(z - 1)), axis=-1),
            front.array(np.zeros(3)), scales, solver=solver,
        )  # fmt: skip
        np.testing.assert_allclose(_numbers(z), 1.0, atol=1e-9)


def test_minimizers_refuse_other_equations(front: FrontEnd) -> None:
    for solver in (LBFGS(), GradientDescent()):
        with pytest.raises(OptionError, match=rf"{type(solver).__name__} minimises; it solves argmin only, not root"):
            front.root(lambda z, t: z - t, front.array(np.ones(1)), front.array(np.array(0.5)), solver=solver)


def test_defaults_and_refused_choices() -> None:
    assert isinstance(solver_of(None, "root", 500), Newton)
    large = solver_of(None, "root", 501)
    assert isinstance(large, Newton)
    assert isinstance(large.linear, GMRES)
    assert isinstance(solver_of(None, "fixed_point", 3), Anderson)
    assert isinstance(solver_of(None, "argmin", 3), LBFGS)
    assert isinstance(solver_of(lambda F, z: z, "root", 3), Custom)
    for choice in ("newton", Newton, 3):
        with pytest.raises(OptionError, match="Newton, Broyden, Anderson"):
            solver_of(choice, "root", 3)


@pytest.mark.parametrize(
    ("solver", "options"),
    [
        (Anderson, {"depth": 0}),
        (Anderson, {"damping": 0.0}),
        (Anderson, {"regularization": -1.0}),
        (Anderson, {"growth": 0.5}),
        (Broyden, {"depth": 0}),
        (Broyden, {"scale": 0.0}),
        (Broyden, {"safety": 1.0}),
        (Broyden, {"growth": 0.5}),
        (LBFGS, {"depth": 0}),
        (GradientDescent, {"step_length": -1.0}),
        (GradientDescent, {"memory": 1.0}),
        (LineSearch, {"curvature": 1e-5}),
        (LineSearch, {"sufficient_decrease": 0.6}),
        (LineSearch, {"max_trials": 0}),
        (Newton, {"patience": 0}),
    ],
)
def test_options_are_checked(solver: Any, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        solver(**options)


def test_spectral_radius(front: FrontEnd) -> None:
    random = np.random.default_rng(5)
    matrices = random.standard_normal((3, 6, 6))  # with complex pairs in front
    matrices[0] = matrices[0] @ np.diag([0, 0, 0, 0, 0, 0])
    matrices[1] = np.kron(np.diag([2.0, 1.0, 0.5]), [[0, -1], [1, 0]])
    radii = [np.abs(np.linalg.eigvals(matrix)).max() for matrix in matrices]
    equation = Equation("fixed_point", lambda z, theta: z - (theta[0] @ z[..., None])[..., 0])
    problem = Problem(front.framework, equation, (front.array(matrices),))
    z = front.array(np.zeros((3, 6)))
    estimates = _numbers(spectral_radius(problem, z))
    np.testing.assert_allclose(estimates, radii, rtol=0.02)
    assert estimates[0] == 0
    np.testing.assert_array_equal(estimates, _numbers(spectral_radius(problem, z)))
    with pytest.raises(OptionError, match="iterations"):
        spectral_radius(problem, z, 0)
