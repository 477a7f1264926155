"""What is kept between derivatives at one solution: it saves factorizations, and nothing else depends on it."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from conic_problems import CONIC_FAMILIES
from problems import FAMILIES, Family

import optlayers
import optlayers.jax
import optlayers.torch
from optlayers import BatchedDense, MinimumNorm, Smoothed, SparseDirect
from optlayers.backward import AbstractBackward, Cache, cache
from optlayers.backward import smoothed as smoothed_module
from optlayers.errors import SingularWarning
from optlayers.kkt import Derivative, SymmetricSystem, dense
from optlayers.kkt.ldl import Ldl
from optlayers.solution_map import ConeSolutionMap, Residuals

pytestmark = pytest.mark.usefixtures("without_checks")

METHODS: list[AbstractBackward] = [SparseDirect(), BatchedDense(), MinimumNorm(), Smoothed()]
BY_NAME: dict[str, Family] = {each.name: each for each in (*FAMILIES, *(conic.family for conic in CONIC_FAMILIES))}
N = 5
RNG = np.random.default_rng(0)
ROOT = RNG.standard_normal((N, N))
P = ROOT @ ROOT.T / N + np.eye(N)
Q = np.array([-1.3, 0.8, -0.4, 1.5, -2.0])
WEIGHTS = RNG.standard_normal(N)


def quadratic() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """min 1/2 x'Px + q'x over x >= 0."""
    x, q = cp.Variable(N), cp.Parameter(N, name="q")
    return cp.Problem(cp.Minimize(cp.quad_form(x, P) / 2 + q @ x), [x >= 0]), [q], [x]


TORCH = optlayers.torch.CvxpyLayer(*quadratic())
JAX = optlayers.jax.CvxpyLayer(*quadratic())


def oracle(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and dx/dq, by trying the sets of positive entries: there the equations are linear."""
    for bits in range(2**N):
        free = np.array([bool(bits >> i & 1) for i in range(N)])
        inverse = np.zeros((N, N))
        inverse[np.ix_(free, free)] = np.linalg.inv(P[np.ix_(free, free)])
        x = -inverse @ q
        if (x[free] > 0).all() and ((P @ x + q)[~free] > 0).all():
            return x, -inverse
    raise AssertionError("no set of positive entries is optimal")


def hessian(q: np.ndarray) -> np.ndarray:
    """That of sum(weights sin(x)): x is linear in q nearby."""
    x, J = oracle(q)
    return np.asarray(J.T @ np.diag(-WEIGHTS * np.sin(x)) @ J)


@contextmanager
def counting(target: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How often a function is called within the context."""
    calls, inner = [0], getattr(target, name)

    def counted(*arguments: Any, **settings: Any) -> Any:
        calls[0] += 1
        return inner(*arguments, **settings)

    with monkeypatch.context() as patched:
        patched.setattr(target, name, counted)
        yield calls


def solved(shift: float) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """q, which no other test meets, with x in PyTorch, and dx/dq."""
    q = Q + shift
    leaf = torch.tensor(q, requires_grad=True)
    return leaf, TORCH(leaf)[0], oracle(q)[1]


def test_the_rows_of_a_jacobian_by_batched_cotangents_take_one_factorization(monkeypatch: pytest.MonkeyPatch) -> None:
    q, x, J = solved(0.01)
    with counting(Ldl, "factor", monkeypatch) as factorizations:
        (rows,) = torch.autograd.grad(x, q, torch.eye(N, dtype=torch.float64), is_grads_batched=True)
    assert factorizations == [1]
    np.testing.assert_allclose(rows, J, rtol=1e-10, atol=1e-12)


def test_the_rows_of_a_jacobian_one_by_one_take_one_factorization(monkeypatch: pytest.MonkeyPatch) -> None:
    q, x, J = solved(0.02)
    with counting(Ldl, "factor", monkeypatch) as factorizations:
        rows = [torch.autograd.grad(x[i], q, retain_graph=True)[0] for i in range(N)]
    assert factorizations == [1]
    np.testing.assert_allclose(np.stack(rows), J, rtol=1e-10, atol=1e-12)


def test_two_solutions_in_turns_take_one_factorization_each(monkeypatch: pytest.MonkeyPatch) -> None:
    (q, x, J), (other, y, K) = solved(0.03), solved(0.04)
    with counting(Ldl, "factor", monkeypatch) as factorizations:
        for i in range(N):
            g, h = torch.autograd.grad(x[i] + y[i], (q, other), retain_graph=True)
            np.testing.assert_allclose(g, J[i], rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(h, K[i], rtol=1e-10, atol=1e-12)
    assert factorizations == [2]


def torch_loss(q: torch.Tensor) -> torch.Tensor:
    return (torch.tensor(WEIGHTS) * TORCH(q)[0].sin()).sum()


def jax_loss(q: jax.Array) -> jax.Array:
    return jnp.asarray(WEIGHTS) @ jnp.sin(JAX(q)[0])


@pytest.mark.parametrize(
    ("compute", "layer", "shift"),
    [
        (lambda q: torch.func.hessian(torch_loss)(torch.tensor(q)), TORCH, 0.05),
        (lambda q: torch.autograd.functional.hessian(torch_loss, torch.tensor(q)), TORCH, 0.06),
        (lambda q: torch.func.jacrev(torch.func.jacrev(torch_loss))(torch.tensor(q)), TORCH, 0.07),
        (lambda q: jax.hessian(jax_loss)(jnp.asarray(q)), JAX, 0.08),
        (lambda q: jax.jit(jax.hessian(jax_loss))(jnp.asarray(q)), JAX, 0.09),
    ],
)
def test_a_hessian_takes_one_factorization(
    compute: Callable[[np.ndarray], Any], layer: Any, shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counting(Derivative, "__init__", monkeypatch) as factorizations:
        found = np.asarray(compute(Q + shift))
    assert factorizations == [1]
    expected = hessian(Q + shift)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        (SparseDirect(), Ldl, "factor"),
        (BatchedDense(), np.linalg, "inv"),
        (MinimumNorm(), dense.la, "eigh"),
        (Smoothed(), smoothed_module, "central_point"),
    ],
    ids=lambda part: getattr(part, "name", ""),
)
def test_each_method_that_factors_does_so_once(
    method: AbstractBackward, target: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = optlayers.compile(*quadratic(), backward=method).solution_map
    residuals = each.forward(Q)[1]
    with counting(target, name, monkeypatch) as calls:
        rows = np.stack([each.derivative(residuals, row, True) for row in np.eye(N)])
        columns = np.stack([each.derivative(residuals, column, False) for column in np.eye(N)])
    assert calls == [1]
    np.testing.assert_allclose(rows, columns.T, rtol=1e-9, atol=1e-10)


def products(each: ConeSolutionMap, residuals: Residuals, rng: np.random.Generator) -> list[Callable[[], np.ndarray]]:
    """Both modes of the first derivative, for one vector and for three, and of the second."""
    (d, d3), (g, g3) = (
        (rng.standard_normal(size), rng.standard_normal((3, *(1,) * (residuals.theta.ndim - 1), size)))
        for size in (each.input_size, each.output_size)
    )
    first = [
        lambda: each.derivative(residuals, g, True),
        lambda: each.derivative(residuals, d3, False),
        lambda: each.derivative(residuals, g3, True),
        lambda: each.derivative(residuals, d, False),
    ]
    second = [
        lambda: each.second_derivative(residuals, d, d3, False),
        lambda: each.second_derivative(residuals, g, d, True),
    ]
    return first + second if each.backward.twice_differentiable else first


def anew(each: ConeSolutionMap) -> ConeSolutionMap:
    """The same map, of which nothing is kept, not even workspaces."""
    return dataclasses.replace(each, cache=Cache(), system=SymmetricSystem(each.parametric.structure))


CASES = [(method, name) for method in METHODS for name in ("dense_qp", "norm_constrained")]
CASES += [(SparseDirect(), name) for name in ("nearest_correlation", "softmax", "geometric_mean")]
CASES += [(MinimumNorm(), "lyapunov")]


@pytest.mark.parametrize(("method", "name"), CASES, ids=[f"{method.name}-{name}" for method, name in CASES])
def test_no_bit_depends_on_what_is_kept(method: AbstractBackward, name: str) -> None:
    family = BY_NAME[name]
    instance = family.build(np.random.default_rng(0), family.size)
    each = optlayers.compile(instance.problem, instance.parameters, instance.outputs, backward=method).solution_map
    theta = each.parametric.signature.pack(np, instance.values)
    slopes = each.parametric.signature.parameter_slopes(theta)
    rng = np.random.default_rng(1)
    residuals = each.forward(theta)[1]
    batch = each.forward(np.stack([theta, theta * (1 + 1e-6 * slopes), theta]))[1]
    plain, hits = [], []
    for at in (residuals, batch):
        vectors = np.random.default_rng(2)
        count = len(products(each, at, copy.deepcopy(vectors)))
        plain += [products(anew(each), at, copy.deepcopy(vectors))[place]() for place in range(count)]
    for _ in range(2):
        for at in (residuals, batch):
            hits += [product() for product in products(each, at, np.random.default_rng(2))]
        # Solves and other points in between overwrite the workspaces that are free.
        elsewhere = each.forward(theta * (1 + 1e-5 * rng.standard_normal() * slopes))[1]
        each.derivative(elsewhere, np.ones(each.output_size), True)
    for ours, expected in zip(hits, [*plain, *plain], strict=True):
        assert np.array_equal(ours, expected)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_no_bit_depends_on_what_is_kept_where_the_derivative_does_not_exist(method: AbstractBackward) -> None:
    """Twice the same equation, and a kink: dense systems and null vectors are kept as well; warnings come again."""
    x, b = cp.Variable(3), cp.Parameter(3, name="b")
    rows = [cp.sum(x) == b[0], cp.sum(x) == b[1], x[0] >= b[2]]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - np.array([0.0, 0.5, 1.0]))), rows)
    each = optlayers.compile(problem, [b], [x], backward=method).solution_map
    residuals = each.forward(np.array([1.5, 1.5, 0.0]))[1]

    def warned(product: Callable[[], np.ndarray]) -> tuple[np.ndarray, list[str]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values = product()
        return values, [str(warning.message) for warning in caught]

    first = range(4)
    plain = [warned(products(anew(each), residuals, np.random.default_rng(3))[place]) for place in first]
    for _ in range(2):
        found = [warned(products(each, residuals, np.random.default_rng(3))[place]) for place in first]
        for (ours, messages), (expected, before) in zip(found, plain, strict=True):
            assert np.array_equal(ours, expected)
            assert messages == before
            assert messages or isinstance(method, Smoothed)


def vertex() -> ConeSolutionMap:
    """min c'x on the simplex."""
    x, c = cp.Variable(2), cp.Parameter(2, name="c")
    return optlayers.compile(cp.Problem(cp.Minimize(c @ x), [x >= 0, cp.sum(x) == 1]), [c], [x]).solution_map


def test_a_warning_made_an_error_comes_again() -> None:
    each = vertex()
    residuals = each.forward(np.array([1.0, 1.0]))[1]
    for _ in range(3):
        with pytest.raises(SingularWarning):
            each.derivative(residuals, np.array([1.0, 0.0]), True)
    assert len(each.cache) == 1


def test_a_dense_system_that_was_needed_is_counted() -> None:
    regular, singular = vertex(), vertex()
    regular.derivative(regular.forward(np.array([1.0, 2.0]))[1], np.ones(2), True)
    with pytest.warns(SingularWarning):
        singular.derivative(singular.forward(np.array([1.0, 1.0]))[1], np.array([1.0, 0.0]), True)
    assert singular.cache.bytes > regular.cache.bytes > 0


def test_maps_that_differ_in_their_method_share_no_entry() -> None:
    """As the maps of calls with `mode` in their `solver_args` do."""
    each = optlayers.compile(*quadratic()).solution_map
    others = [dataclasses.replace(each, backward=method) for method in (*METHODS, Smoothed(mu=0.1))]
    residuals = each.forward(Q)[1]
    for _ in range(2):
        for other in others:
            assert np.array_equal(
                other.derivative(residuals, WEIGHTS, True), anew(other).derivative(residuals, WEIGHTS, True)
            )
    assert len(each.cache) == len(others)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_point_is_found_by_its_numbers(method: AbstractBackward) -> None:
    """Neither arrays overwritten after they were met, nor others with the same numbers, mislead it."""
    family = BY_NAME["dense_qp"]
    instance = family.build(np.random.default_rng(0), family.size)
    each = optlayers.compile(instance.problem, instance.parameters, instance.outputs, backward=method).solution_map
    theta = each.parametric.signature.pack(np, instance.values)
    slopes = each.parametric.signature.parameter_slopes(theta)
    g = np.random.default_rng(5).standard_normal(each.output_size)
    first, second = (each.forward(theta * (1 + shift * slopes))[1] for shift in (0.0, 1e-3))
    expected = [anew(each).derivative(at, g, True) for at in (first, second)]
    assert not np.array_equal(*expected)
    mine = Residuals(*(part.copy() for part in first))
    assert np.array_equal(each.derivative(mine, g, True), expected[0])
    for part, new in zip(mine, second, strict=True):
        part[...] = new
    assert np.array_equal(each.derivative(first, g, True), expected[0])
    assert np.array_equal(each.derivative(mine, g, True), expected[1])
    assert len(each.cache) == 2


def test_many_threads_at_few_points() -> None:
    each = optlayers.compile(*quadratic()).solution_map
    points = [each.forward(Q + shift)[1] for shift in (0.0, 0.1, 0.2)]
    cotangents = np.random.default_rng(4).standard_normal((8, N))
    expected = [[anew(each).derivative(at, g, True) for g in cotangents] for at in points]
    wrong: list[tuple[int, int]] = []
    start = threading.Barrier(8)

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        start.wait()
        for _ in range(40):
            place, row = int(rng.integers(3)), int(rng.integers(8))
            if not np.array_equal(each.derivative(points[place], cotangents[row], True), expected[place][row]):
                wrong.append((place, row))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(each.cache) == 3


def test_the_threads_of_one_batch() -> None:
    each = optlayers.compile(*quadratic(), solver_args={"n_jobs_backward": 3}).solution_map
    residuals = each.forward(np.stack([Q, Q + 0.1, Q, Q + 0.1, Q]))[1]
    for _ in range(3):
        assert np.array_equal(
            each.derivative(residuals, WEIGHTS, True), anew(each).derivative(residuals, WEIGHTS, True)
        )


def test_copies_and_files_carry_nothing(tmp_path: Path) -> None:
    compiled = optlayers.compile(*quadratic())
    compiled.save(tmp_path / "before.npz")
    each = compiled.solution_map
    g = each.derivative(each.forward(Q)[1], WEIGHTS, True)
    size = len(pickle.dumps(each))
    each.derivative(each.forward(Q + 0.1)[1], WEIGHTS, True)
    assert len(each.cache) == 2
    assert len(copy.deepcopy(each.cache)) == len(copy.copy(each.cache)) == 0
    assert len(pickle.dumps(each)) == size
    compiled.save(tmp_path / "after.npz")
    assert (tmp_path / "after.npz").stat().st_size == (tmp_path / "before.npz").stat().st_size
    for copied in (pickle.loads(pickle.dumps(each)), optlayers.load(tmp_path / "after.npz").solution_map):
        assert len(copied.cache) == 0
        assert np.array_equal(copied.derivative(copied.forward(Q)[1], WEIGHTS, True), g)


def test_a_training_loop_keeps_a_bounded_number_of_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "KEPT_POINTS", 4)
    each = optlayers.compile(*quadratic()).solution_map
    with counting(Ldl, "__init__", monkeypatch) as workspaces:
        for step in range(12):
            each.derivative(each.forward(Q + 0.01 * step)[1], WEIGHTS, True)
            assert len(each.cache) == min(step + 1, 4)
    assert workspaces[0] <= 5


def test_large_points_leave_one_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two points do not fit, a step takes no more memory than one without a cache."""
    monkeypatch.setattr(cache, "KEPT_BYTES", 1)
    each = optlayers.compile(*quadratic()).solution_map
    with counting(Ldl, "__init__", monkeypatch) as workspaces:
        points = [each.forward(Q + 0.01 * step)[1] for step in range(3)]
        for at in points:
            each.derivative(at, WEIGHTS, True)
            assert len(each.cache) == 1
            with counting(Ldl, "factor", monkeypatch) as factorizations:
                each.derivative(at, WEIGHTS, False)
            assert factorizations == [0]
        each.forward(Q + 0.5)
    assert workspaces == [1]
    assert len(each.cache) == 0


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_what_is_kept_ends_with_the_layer(method: AbstractBackward) -> None:
    layer = optlayers.torch.CvxpyLayer(*quadratic(), backward=method)
    q = torch.tensor(Q, requires_grad=True)
    layer(q)[0].sum().backward()
    kept = weakref.ref(layer._solution_map.cache)
    assert len(layer._solution_map.cache) == 1
    gc.collect()
    gc.disable()
    try:
        del layer
        assert kept() is None
    finally:
        gc.enable()


class Item:
    """An entry that says whether it was released."""

    def __init__(self, size: int) -> None:
        self.bytes, self.releases = size, 0

    def release(self) -> None:
        self.releases += 1


def put(kept: Cache, key: int, size: int) -> Item:
    item = Item(size)
    with kept.borrow(key, lambda: item) as found:
        return found


def test_the_least_recently_used_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "KEPT_BYTES", 10)
    kept = Cache()
    one, two, three = (put(kept, key, 3) for key in (1, 2, 3))
    assert put(kept, 1, 3) is one
    four = put(kept, 4, 3)
    assert (len(kept), kept.bytes) == (3, 9)
    assert [item.releases for item in (one, two, three, four)] == [0, 1, 0, 0]
    large = put(kept, 5, 30)
    assert [item.releases for item in (one, two, three, four, large)] == [1, 1, 1, 1, 0]
    assert (len(kept), kept.bytes) == (1, 30)
    kept.trim()
    assert (len(kept), kept.bytes, large.releases) == (0, 0, 1)


def test_the_memory_of_an_entry_is_that_when_it_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "KEPT_BYTES", 10)
    kept = Cache()
    one, two = put(kept, 1, 3), put(kept, 2, 3)
    with kept.borrow(2, lambda: Item(3)) as found:
        assert found is two
        two.bytes = 9
    assert (len(kept), kept.bytes, one.releases) == (1, 9, 1)


def test_an_exception_keeps_nothing() -> None:
    kept, item = Cache(), Item(1)
    with pytest.raises(ValueError, match="inside"), kept.borrow(1, lambda: item):
        raise ValueError("inside")
    assert (len(kept), kept.bytes, item.releases) == (0, 0, 1)


def test_two_who_borrow_at_once_have_two_entries() -> None:
    kept, items = Cache(), [Item(1), Item(1)]
    with kept.borrow(1, lambda: items[0]) as one, kept.borrow(1, lambda: items[1]) as other:
        assert one is not other
    assert (len(kept), kept.bytes) == (1, 1)
    assert sorted(item.releases for item in items) == [0, 1]
