"""Solvers of linear systems: one contract for all, and what each says of systems that it cannot solve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from optlayers.errors import AccuracyWarning, DerivativeError, OptionError
from optlayers.implicit import (
    GMRES,
    LBFGS,
    LSMR,
    LU,
    AbstractLinearSolver,
    BiCGStab,
    ConjugateGradients,
    DenseInverse,
    FixedPointIteration,
    Framework,
    Iterated,
    LinearInfo,
    LinearOperator,
    Neumann,
    Newton,
    NormalConjugateGradients,
    Preconditioner,
)
from optlayers.implicit.linear.lu import FORMED_BY_DEFAULT
from optlayers.implicit.report import (
    DIVERGED,
    INACCURATE,
    ITERATION_LIMIT,
    NUMERICAL_ERROR,
    SINGULAR,
    SOLVED,
)
from optlayers.implicit.solvers import linear_solver_of
from optlayers.jax import root as jax_root
from optlayers.jax.framework import JAX
from optlayers.torch import root as torch_root
from optlayers.torch.framework import TORCH


@final
@dataclass(frozen=True)
class Arrays:
    """A framework, its arrays of NumPy's, `root`, the gradient of a function of one array, and the error in which that
    of a derivative arrives."""

    name: str
    framework: Framework
    array: Callable[[Any], Any]
    root: Callable[..., Any]
    grad: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]
    error: type[Exception]


FRAMEWORKS = (
    Arrays("torch", TORCH, torch.as_tensor, torch_root, torch.func.grad, DerivativeError),
    Arrays("jax", JAX, jnp.asarray, jax_root, jax.grad, Exception),
)

SOLVERS: dict[str, AbstractLinearSolver] = {
    "LU": LU(),
    "GMRES": GMRES(),
    "GMRES(4)": GMRES(restart=4),
    "BiCGStab": BiCGStab(),
    "CG": ConjugateGradients(),
    "CGNR": NormalConjugateGradients(),
    "LSMR": LSMR(),
    "Neumann": Neumann(terms=400),
    "fixed point": Iterated.of(FixedPointIteration()),
    "Newton": Iterated.of(Newton()),
}

KRYLOV = ("GMRES", "BiCGStab", "CG", "CGNR", "LSMR")
LEAST_SQUARES = ("CGNR", "LSMR")

each_framework = pytest.mark.parametrize("arrays", FRAMEWORKS, ids=lambda arrays: arrays.name)
# The solvers are written once: what follows from the numbers alone is tested in one framework.
one_framework = pytest.mark.parametrize("arrays", FRAMEWORKS[:1], ids=lambda arrays: arrays.name)
every_solver = pytest.mark.parametrize("name", SOLVERS)


def operator(arrays: Arrays, matrix: np.ndarray) -> LinearOperator:
    A = arrays.array(matrix)
    return LinearOperator.of(
        arrays.framework, lambda v: (A @ v[..., None])[..., 0], arrays.array(np.zeros(matrix.shape[:-1], matrix.dtype))
    )


def solve(
    arrays: Arrays, solver: AbstractLinearSolver, matrix: np.ndarray, rhs: np.ndarray, transpose: bool = False
) -> tuple[np.ndarray, LinearInfo]:
    A = operator(arrays, matrix)
    u, info, _ = solver.solve(A.transpose if transpose else A, arrays.array(rhs))
    return np.asarray(u), LinearInfo(*map(np.asarray, info))


def matrices(solver: AbstractLinearSolver, n: int = 8, seed: int = 0) -> np.ndarray:
    """Of increasing difficulty: I - A has the norms 0.01, 0.3 and 0.9. Symmetric where the solver needs it."""
    K = np.random.default_rng(seed).standard_normal((3, n, n))
    if solver.symmetric_only:
        K = K + np.swapaxes(K, -1, -2)
    K /= np.linalg.norm(K, ord=2, axis=(-2, -1))[:, None, None]
    return np.eye(n) - np.array([0.01, 0.3, 0.9])[:, None, None] * K


def check_solution(solver: AbstractLinearSolver, A: np.ndarray, rhs: np.ndarray, u: np.ndarray) -> None:
    """The error is at most |A^-1| times the residual that the solver may leave, and rounding.

    An iteration's residual is measured by its largest entry: by at most sqrt(n) times as much in the Euclidean norm.
    """
    x = np.linalg.solve(A, np.broadcast_to(rhs, u.shape)[..., None])[..., 0]
    smallest = np.linalg.norm(A, ord=-2, axis=(-2, -1))
    eps = float(np.finfo(u.dtype).eps)
    part = max(solver.tolerance, 16 * eps) * (rhs.shape[-1] ** 0.5 if isinstance(solver, Iterated) else 1)
    rounding = 10 * rhs.shape[-1] * eps * np.linalg.cond(A)
    length = np.linalg.norm(rhs, axis=-1)
    assert (np.linalg.norm(u - x, axis=-1) <= (part + rounding) * length / smallest).all()


@each_framework
@every_solver
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("further", [(), (2,)])
def test_solution_of_a_batch(arrays: Arrays, name: str, transpose: bool, further: tuple[int, ...]) -> None:
    solver = SOLVERS[name]
    A = matrices(solver)
    rhs = np.random.default_rng(1).standard_normal((*further, 3, 8))
    u, info = solve(arrays, solver, A, rhs, transpose)
    A = np.swapaxes(A, -1, -2) if transpose else A
    check_solution(solver, A, rhs, u)
    assert (info.status == SOLVED).all()
    assert info.status.dtype == info.iterations.dtype == np.int32
    np.testing.assert_allclose(info.residual, np.linalg.norm((A @ u[..., None])[..., 0] - rhs, axis=-1), atol=1e-13)
    if name not in ("LU", "Newton"):
        # Each element has its own number.
        assert (info.iterations[..., 0] < info.iterations[..., 2]).all()


@each_framework
@every_solver
def test_solution_in_single_precision(arrays: Arrays, name: str) -> None:
    solver = SOLVERS[name]
    A = matrices(solver)[:2].astype(np.float32)
    rhs = np.random.default_rng(1).standard_normal((2, 8)).astype(np.float32)
    u, info = solve(arrays, solver, A, rhs)
    assert u.dtype == info.residual.dtype == info.condition.dtype == np.float32
    check_solution(solver, A, rhs, u)
    assert (info.status == SOLVED).all()


@one_framework
@every_solver
def test_one_unknown(arrays: Arrays, name: str) -> None:
    u, info = solve(arrays, SOLVERS[name], np.array([[0.5]]), np.array([3.0]))
    np.testing.assert_allclose(u, [6.0], rtol=1e-9)
    assert info.status == SOLVED


@one_framework
@every_solver
def test_nothing_on_the_right(arrays: Arrays, name: str) -> None:
    """Beside something: the element that has nothing to do must not become NaN while the others go on."""
    solver = SOLVERS[name]
    rhs = np.random.default_rng(1).standard_normal((3, 8))
    rhs[1] = 0
    u, info = solve(arrays, solver, matrices(solver), rhs)
    assert (u[1] == 0).all()
    assert np.isfinite(u).all()
    assert (info.status == SOLVED).all()
    assert info.residual[1] == 0


@each_framework
@every_solver
@pytest.mark.parametrize("further", [(), (2,)])
def test_empty_batch(arrays: Arrays, name: str, further: tuple[int, ...]) -> None:
    u, info = solve(arrays, SOLVERS[name], np.zeros((0, 3, 3)), np.zeros((*further, 0, 3)))
    assert u.shape == (*further, 0, 3)
    assert all(array.shape == (*further, 0) for array in info[:4])


@one_framework
@every_solver
def test_solution_scales_with_the_right_hand_side(arrays: Arrays, name: str) -> None:
    """Squares of such numbers are zero."""
    solver = SOLVERS[name]
    rhs = np.random.default_rng(1).standard_normal((3, 8))
    u, _ = solve(arrays, solver, matrices(solver), rhs)
    small, info = solve(arrays, solver, matrices(solver), 1e-200 * rhs)
    assert (info.status == SOLVED).all()
    np.testing.assert_allclose(small * 1e200, u, atol=1e-8)


@one_framework
@every_solver
@pytest.mark.parametrize("stop", ["absolute", "relative"])
def test_stopping_rules(arrays: Arrays, name: str, stop: str) -> None:
    solver = replace(SOLVERS[name], stop=stop, tolerance=1e-6)
    rhs = 1e-3 * np.random.default_rng(1).standard_normal((3, 8))
    u, info = solve(arrays, solver, matrices(solver), rhs)
    bound = 1e-6 if stop == "absolute" else 1e-6 * np.linalg.norm(u, axis=-1)
    assert (info.status == SOLVED).all()
    assert (info.residual <= bound * (8**0.5 if isinstance(solver, Iterated) else 1)).all()


@one_framework
@pytest.mark.parametrize("name", KRYLOV)
def test_the_limit_is_kept_and_told(arrays: Arrays, name: str) -> None:
    solver = replace(SOLVERS[name], max_iterations=3)
    rhs = np.random.default_rng(1).standard_normal((3, 8))
    u, info = solve(arrays, solver, matrices(solver), rhs)
    assert info.status[2] == ITERATION_LIMIT
    assert info.iterations[2] == 3
    assert np.isfinite(u).all()


@one_framework
@every_solver
def test_a_failure_spoils_no_other_element(arrays: Arrays, name: str) -> None:
    solver = SOLVERS[name]
    A = matrices(solver)
    A[1, 2, 3] = np.nan
    rhs = np.random.default_rng(1).standard_normal((3, 8))
    u, info = solve(arrays, solver, A, rhs)
    check_solution(solver, A[[0, 2]], rhs[[0, 2]], u[[0, 2]])
    assert info.status.tolist() == [SOLVED, DIVERGED, SOLVED]


@each_framework
@pytest.mark.parametrize("name", ["LU", "GMRES", *LEAST_SQUARES, "CG"])
def test_singular(arrays: Arrays, name: str) -> None:
    solver = SOLVERS[name]
    A = matrices(solver)
    A[1] = np.diag([0.0, 0, 1, 2, 3, 4, 5, 6])
    rhs = np.random.default_rng(1).standard_normal((3, 8))
    u, info = solve(arrays, solver, A, rhs)
    assert info.status.tolist() == [SOLVED, SINGULAR, SOLVED]
    check_solution(solver, A[[0, 2]], rhs[[0, 2]], u[[0, 2]])
    if name in LEAST_SQUARES:
        np.testing.assert_allclose(u[1], [0, 0, *(rhs[1, 2:] / np.arange(1, 7))], atol=1e-8)
        np.testing.assert_allclose(info.residual[1], np.linalg.norm(rhs[1, :2]), rtol=1e-8)


@one_framework
@pytest.mark.parametrize("name", LEAST_SQUARES)
@pytest.mark.parametrize("further", [(), (2,)])
def test_minimum_norm(arrays: Arrays, name: str, further: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    A = rng.standard_normal((3, 8, 5)) @ rng.standard_normal((3, 5, 8))
    rhs = (A @ rng.standard_normal((*further, 3, 8, 1)))[..., 0]
    u, info = solve(arrays, SOLVERS[name], A, rhs)
    inverse = np.linalg.pinv(A, rcond=1e-10)
    assert (info.status == SOLVED).all()
    error = np.linalg.norm(u - (inverse @ rhs[..., None])[..., 0], axis=-1)
    bound = 1e-10 * np.linalg.norm(rhs, axis=-1) * np.linalg.norm(inverse, ord=2, axis=(-2, -1))
    assert (error <= bound + 1e-12).all()


@one_framework
def test_the_zero_matrix(arrays: Arrays) -> None:
    for name in ("LU", *KRYLOV):
        _, info = solve(arrays, SOLVERS[name], np.zeros((3, 3)), np.ones(3))
        assert info.status == (NUMERICAL_ERROR if name == "BiCGStab" else SINGULAR)


@one_framework
@pytest.mark.parametrize("name", ["LU", "GMRES", "BiCGStab", "CGNR", "LSMR"])
def test_skew_symmetric(arrays: Arrays, name: str) -> None:
    """r'A r = 0 for all r: BiCGStab has no first step."""
    A = np.random.default_rng(3).standard_normal((8, 8))
    A, rhs = A - A.T, np.ones(8)
    u, info = solve(arrays, SOLVERS[name], A, rhs)
    if name == "BiCGStab":
        assert info.status == NUMERICAL_ERROR
        assert info.residual == pytest.approx(8**0.5)
    else:
        assert info.status == SOLVED
        check_solution(SOLVERS[name], A, rhs, u)


@one_framework
@pytest.mark.parametrize("name", ["LU", "LSMR"])
def test_ill_conditioned(arrays: Arrays, name: str) -> None:
    rng = np.random.default_rng(4)
    U, V = (np.linalg.qr(rng.standard_normal((6, 6)))[0] for _ in range(2))
    A = (U * np.logspace(0, -8, 6)) @ V
    u, info = solve(arrays, SOLVERS[name], A, A @ np.ones(6))
    assert info.status == INACCURATE
    assert 1e7 < info.condition < 6 * 1e8
    np.testing.assert_allclose(u, np.ones(6), atol=1e-10 * 1e8)


@one_framework
def test_restarts_that_stall(arrays: Arrays) -> None:
    """On a cyclic shift no space but the whole one brings anything."""
    A, rhs = np.roll(np.eye(8), 1, axis=0), np.eye(8)[0]
    _, info = solve(arrays, GMRES(restart=4), A, rhs)
    assert info.status == NUMERICAL_ERROR
    u, info = solve(arrays, GMRES(restart=8), A, rhs)
    assert info.status == SOLVED
    check_solution(GMRES(), A, rhs, u)


@one_framework
def test_the_estimate_of_the_condition(arrays: Arrays) -> None:
    """From below; in the one-norm, by LU, at most three times too small, and exact for few unknowns."""
    rng = np.random.default_rng(5)
    A = rng.standard_normal((100, 10, 10)) * np.logspace(0, -4, 10)
    _, info = solve(arrays, LU(), A, np.ones((100, 10)))
    ratio = info.condition / np.linalg.cond(A, 1)
    assert ratio.max() < 1 + 1e-6
    assert ratio.min() > 1 / 3
    few = A[:, :8, :8]
    _, info = solve(arrays, LU(), few, np.ones((100, 8)))
    np.testing.assert_allclose(info.condition, np.linalg.cond(few, 1), rtol=1e-9)


@one_framework
def test_conjugate_gradients_at_a_saddle(arrays: Arrays) -> None:
    """Solved where nothing breaks down; where the first direction has no curvature, told."""
    A = np.stack([np.diag([3.0, -1.0, 2.0]), np.diag([1.0, -1.0, 1.0])])
    rhs = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    u, info = solve(arrays, ConjugateGradients(), A, rhs)
    assert info.status.tolist() == [SOLVED, NUMERICAL_ERROR]
    np.testing.assert_allclose(u[0], [1 / 3, -1, 1 / 2], rtol=1e-9)


@one_framework
@pytest.mark.parametrize("terms", [1, 5])
def test_neumann_is_the_truncated_series(arrays: Arrays, terms: int) -> None:
    A = matrices(LU())
    rhs = np.random.default_rng(1).standard_normal((3, 8, 1))
    u, info = solve(arrays, Neumann(terms=terms), A, rhs[..., 0])
    power = [np.linalg.matrix_power(np.eye(8) - A, k) @ rhs for k in range(terms + 1)]
    np.testing.assert_allclose(u, sum(power[:-1])[..., 0], rtol=1e-10)
    np.testing.assert_allclose(info.residual, np.linalg.norm(power[-1], axis=(-2, -1)), rtol=1e-8)
    assert (info.status[1:] == INACCURATE).all()


@one_framework
def test_neumann_diverges(arrays: Arrays) -> None:
    _, info = solve(arrays, Neumann(terms=5), 3 * np.eye(4), np.ones(4))
    assert info.status == DIVERGED


@one_framework
@pytest.mark.parametrize("name", [*KRYLOV, "Neumann", "fixed point"])
@pytest.mark.parametrize("transpose", [False, True])
def test_a_preconditioner_reduces_iterations(arrays: Arrays, name: str, transpose: bool) -> None:
    """The matrix of a neighbour. For the transpose it must be transposed itself: far from symmetric, else it hurts."""
    solver = SOLVERS[name]
    rng = np.random.default_rng(6)
    A = matrices(solver, 12)
    nearby = A + 1e-3 * (0 if solver.symmetric_only else rng.standard_normal(A.shape)) + 1e-3 * np.eye(12)
    rhs = rng.standard_normal((2, 3, 12))
    _, plain = solve(arrays, solver, A, rhs, transpose)
    inverse = np.linalg.inv(nearby)
    dense = DenseInverse.of(arrays.framework.xp, arrays.array(nearby))
    given = arrays.array(inverse), arrays.array(np.swapaxes(inverse, -1, -2).copy())
    function = Preconditioner(lambda r, transpose: (given[transpose] @ r[..., None])[..., 0])
    for preconditioner in (dense, function):
        preconditioned = replace(solver, preconditioner=preconditioner)
        u, info = solve(arrays, preconditioned, A, rhs, transpose)
        assert (info.status == SOLVED).all()
        assert (1.5 * info.iterations[..., 1:] < plain.iterations[..., 1:]).all()
        check_solution(solver, np.swapaxes(A, -1, -2) if transpose else A, rhs, u)


@each_framework
def test_the_preconditioner_of_a_gradient_is_transposed(arrays: Arrays) -> None:
    """With the inverse of J_z itself, far from symmetric, GMRES takes one iteration for J_z' u = g."""
    rng = np.random.default_rng(9)
    matrix, b = arrays.array(rng.standard_normal((12, 12)) + 2 * np.eye(12)), arrays.array(rng.standard_normal(12))
    inverse = DenseInverse.of(arrays.framework.xp, matrix)
    seen: list[LinearInfo] = []

    def z(b: Any) -> Any:
        return arrays.root(
            lambda z, b: matrix @ z - b, 0 * b, b, backward=GMRES(preconditioner=inverse), monitor=seen.append
        )

    g = np.asarray(arrays.grad(lambda b: z(b).sum())(b))
    np.testing.assert_allclose(g, np.linalg.solve(np.asarray(matrix).T, np.ones(12)), rtol=1e-9)
    assert [int(info.iterations) for info in seen] == [1]


@each_framework
def test_a_cotangent_that_is_zero_needs_no_regular_matrix(arrays: Arrays) -> None:
    """Where nothing depends on an element; but a vanishing right-hand side of forward mode says nothing."""
    A, rhs = np.stack([np.eye(2), np.ones((2, 2))]), np.array([[1.0, 2.0], [0.0, 0.0]])
    u, info = solve(arrays, LU(), A, rhs, transpose=True)
    np.testing.assert_array_equal(u, rhs)
    assert (info.status == SOLVED).all()
    _, info = solve(arrays, LU(), A, rhs)
    assert info.status.tolist() == [SOLVED, SINGULAR]

    def F(z: Any, a: Any) -> Any:
        return a * z**2 - arrays.array(np.array([[1.0], [4.0], [-1.0]]))  # z^2 + 1 has no root

    def solved(a: Any) -> Any:
        return arrays.root(F, arrays.array(np.ones((3, 1))), a, batch_axes=1, on_failure="warn")[:2].sum()

    with pytest.warns(AccuracyWarning, match=r"root was not solved.*for 1 of 3"):
        g = arrays.grad(solved)(arrays.array(np.array(1.0)))
    np.testing.assert_allclose(float(g), -1.5, rtol=1e-9)


@each_framework
@every_solver
def test_gradient_through_root(arrays: Arrays, name: str) -> None:
    """F = A z - b + c z^3 elementwise, A symmetric: dz = (A + 3 c diag(z^2))^-1 db."""
    A = matrices(ConjugateGradients())[1]
    weight = np.random.default_rng(7).standard_normal(8)
    b = np.random.default_rng(8).standard_normal(8)
    matrix, w = arrays.array(A), arrays.array(weight)
    backward = SOLVERS[name]
    if name == "CG":  # Not symmetric by the form of the equation, though by its value.
        with pytest.raises(OptionError, match="symmetric"):
            arrays.root(lambda z, b: matrix @ z - b, arrays.array(0 * b), arrays.array(b), backward=backward)
        return
    if name == "fixed point":
        backward = FixedPointIteration()

    def z(b: Any) -> Any:
        return arrays.root(lambda z, b: matrix @ z - b + 0.01 * z**3, arrays.array(0 * b), b, backward=backward)

    g = np.asarray(arrays.grad(lambda b: (w * z(b)).sum())(arrays.array(b)))
    expected = np.linalg.solve(A + 0.03 * np.diag(np.asarray(z(arrays.array(b))) ** 2), weight)
    np.testing.assert_allclose(g, expected, rtol=0, atol=1e-6)


@each_framework
def test_what_the_user_is_told(arrays: Arrays) -> None:
    rotation = arrays.array(np.array([[0.0, 1.0], [-1.0, 0.0]]))

    def gradient(backward: Any) -> Any:
        def z(b: Any) -> Any:
            return arrays.root(lambda z, b: rotation @ z - b, arrays.array(np.zeros(2)), b, backward=backward)

        return arrays.grad(lambda b: z(b).sum())(arrays.array(np.ones(2)))

    with pytest.raises(arrays.error, match="numerical error"):
        gradient(BiCGStab())
    with pytest.raises(arrays.error, match="diverged"):
        gradient(Neumann(terms=3))


@each_framework
def test_a_truncated_series_is_given_with_a_warning(arrays: Arrays) -> None:
    def z(b: Any) -> Any:
        return arrays.root(lambda z, b: 0.5 * z - b, arrays.array(np.zeros(2)), b, backward=Neumann(terms=2))

    with pytest.warns(AccuracyWarning, match="Neumann"):
        g = arrays.grad(lambda b: z(b).sum())(arrays.array(np.ones(2)))
    np.testing.assert_allclose(np.asarray(g), 1.5)


def test_choice() -> None:
    assert isinstance(linear_solver_of(None, False, FORMED_BY_DEFAULT), LU)
    assert isinstance(linear_solver_of(None, False, FORMED_BY_DEFAULT + 1), GMRES)
    assert isinstance(linear_solver_of(None, True, FORMED_BY_DEFAULT + 1), ConjugateGradients)
    wrapped = linear_solver_of(FixedPointIteration(tolerance=1e-5, max_iterations=7), False, 3)
    assert isinstance(wrapped, Iterated)
    assert (wrapped.tolerance, wrapped.max_iterations) == (1e-5, 7)
    with pytest.raises(OptionError, match="is no solver of linear systems"):
        linear_solver_of("lu", False, 3)
    with pytest.raises(OptionError, match="symmetric"):
        linear_solver_of(ConjugateGradients(), False, 3)
    with pytest.raises(OptionError, match="backward=L-BFGS minimises"):
        linear_solver_of(LBFGS(), True, 3)


@pytest.mark.parametrize("settings", [{"restart": 0}, {"restart": True}, {"tolerance": 0.0}, {"max_iterations": 0}])
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"GMRES\\({next(iter(settings))}="):
        GMRES(**settings)
    with pytest.raises(OptionError, match="terms="):
        Neumann(terms=0)
