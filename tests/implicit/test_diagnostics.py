"""What is said where an equation, or the linear system of its derivative, is not solved, in both frameworks."""

from __future__ import annotations

import re
import warnings
from typing import Any

import jax
import numpy as np
import pytest
import torch
from implicit.equations import BACKENDS, JAX, TORCH, Backend
from oracles import unchecked

from optlayers.errors import (
    AccuracyWarning,
    ArgumentError,
    CaptureError,
    ConvergenceError,
    DerivativeError,
    OptionError,
    OptLayersWarning,
    SingularWarning,
    Status,
)
from optlayers.implicit import LU, STATUSES, FixedPointIteration, LinearInfo, Newton

each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)

SHORT = Newton(max_iterations=20)
X = np.array([[4.0, 9.0], [-1.0, 1.0], [16.0, 25.0]])
"""F(z) = z^2 - x has no root where x < 0: batch index (1,)."""

FAILED = r"root was not solved by Newton to its tolerance 3.7e-11, for 1 of {}:\n  batch index {}: (stagnated|singular)"


def square_root(backend: Backend, x: Any, *, batch_axes: int = 1, **settings: Any) -> Any:
    def F(z: Any, x: Any) -> Any:
        return z**2 - x

    start = backend.xp.ones_like(x)
    return backend.functions["root"](F, start, x, batch_axes=batch_axes, **{"solver": SHORT, **settings})


def cube_root(backend: Backend, x: Any, **settings: Any) -> Any:
    """At x = 8 and 0, the second of which is found at once, where the derivative is infinite."""
    start = backend.array(np.array([[1.0], [0.0]]))
    return backend.functions["root"](lambda z, x: z**3 - x, start, x, batch_axes=1, solver=SHORT, **settings)


def slope(backend: Backend, f: Any, x: Any) -> Any:
    return backend.grad(lambda x: backend.xp.sum(f(x)))(x)


def runs(backend: Backend) -> list[Any]:
    """Calls at batch axes and under vmap; in JAX compiled, and the first not compiled too."""
    calls = [
        lambda f, x: f(x, batch_axes=1),
        lambda f, x: backend.vmap(lambda x: f(x, batch_axes=0))(x),
    ]
    if backend.name == "torch":
        return calls
    return [calls[0], *(lambda f, x, call=call: jax.jit(lambda x: call(f, x))(x) for call in calls)]


def raises(backend: Backend, error: type[Exception], text: str) -> Any:
    """Under jit, JAX wraps what a callback raises."""
    return pytest.raises((error, jax.errors.JaxRuntimeError) if backend.name == "jax" else error, match=text)


@each_backend
def test_failures_are_raised_with_their_batch_index(backend: Backend, without_checks: None) -> None:
    x = backend.array(X)
    for call in runs(backend):
        with raises(backend, ConvergenceError, FAILED.format(3, r"\(1,\)")):
            np.asarray(call(lambda x, **given: square_root(backend, x, **given), x))


@each_backend
def test_failures_are_warned_of_at_the_user_s_line_and_what_was_found_is_returned(
    backend: Backend, without_checks: None
) -> None:
    x = backend.array(X)
    for call in runs(backend):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            z = np.asarray(call(lambda x, **given: square_root(backend, x, on_failure="warn", **given), x))
        assert [warning.category for warning in caught] == [AccuracyWarning]
        assert re.match(FAILED.format(3, r"\(1,\)"), str(caught[0].message))
        assert caught[0].filename == __file__
        np.testing.assert_allclose(z[[0, 2]] ** 2, X[[0, 2]], rtol=1e-9)


@each_backend
def test_failures_become_nan_alone_and_in_silence(backend: Backend, without_checks: None) -> None:
    x = backend.array(X)
    calls = runs(backend)
    for call in calls:

        def nan(x: Any, **given: Any) -> Any:
            return square_root(backend, x, on_failure="nan", **given)

        z = np.asarray(call(nan, x))  # warnings are errors
        np.testing.assert_allclose(z[[0, 2]] ** 2, X[[0, 2]], rtol=1e-9)
        assert np.isnan(z[1]).all()
        if call is not calls[-1]:
            continue
        g = np.asarray(backend.jit(lambda x: slope(backend, lambda x: call(nan, x), x))(x))  # noqa: B023
        np.testing.assert_allclose(g[[0, 2]], 1 / (2 * np.sqrt(X[[0, 2]])), rtol=1e-9)
        assert np.isnan(g[1]).all()


@each_backend
def test_singular_derivatives_are_raised_warned_of_or_nan(backend: Backend, without_checks: None) -> None:
    x = backend.array(np.array([[8.0], [0.0]]))
    text = r"the derivative of root is not reliable: .* by LU .*, for 1 of 2:\n  batch index \(1,\): singular"
    with raises(backend, DerivativeError, text):
        np.asarray(backend.jit(lambda x: slope(backend, lambda x: cube_root(backend, x), x))(x))
    with pytest.warns(AccuracyWarning, match=text) as caught:
        np.asarray(backend.jit(lambda x: slope(backend, lambda x: cube_root(backend, x, on_failure="warn"), x))(x))
    assert caught[0].filename == __file__
    g = np.asarray(backend.jit(lambda x: slope(backend, lambda x: cube_root(backend, x, on_failure="nan"), x))(x))
    np.testing.assert_allclose(g[0], 1 / 12, rtol=1e-9)
    assert np.isnan(g[1]).all()


@each_backend
def test_ill_conditioned_derivatives_are_warned_of(backend: Backend, without_checks: None) -> None:
    A = np.diag([1.0, 1e-10])

    def f(b: Any) -> Any:
        return backend.functions["root"](
            lambda z, b: z @ backend.array(A) - b, backend.array(np.array([1.0, 1.0])), b, on_failure="nan"
        )

    with pytest.warns(SingularWarning, match=r"condition number above 1e\+10"):
        g = np.asarray(backend.jit(lambda b: slope(backend, f, b))(backend.array(np.array([1.0, 1e-10]))))
    np.testing.assert_allclose(g, [1, 1e10], rtol=1e-6)


@each_backend
def test_the_monitor_sees_every_linear_system(backend: Backend, without_checks: None) -> None:
    seen: list[LinearInfo] = []
    x = backend.array(np.array([[4.0], [9.0]]))

    def f(x: Any) -> Any:
        return square_root(backend, x, monitor=seen.append)

    np.asarray(f(x))
    assert seen == []
    np.asarray(slope(backend, f, x))
    np.asarray(backend.jit(lambda x: slope(backend, f, x))(x))
    np.asarray(backend.jvp(f, x, x))
    assert len(seen) == 3
    for info in seen:
        assert all(isinstance(array, np.ndarray) for array in info)
        assert [STATUSES[status] for status in info.status] == [Status.SOLVED] * 2
        assert (info.condition >= 1).all()
    seen.clear()
    rows = backend.vmap(
        lambda x: slope(backend, lambda x: square_root(backend, x, batch_axes=0, monitor=seen.append), x)
    )
    np.asarray(rows(x))
    assert [info.status.shape for info in seen] == [(2,)]


@each_backend
def test_info_of_each_element(backend: Backend) -> None:
    x = backend.array(X)

    def found(x: Any, batch_axes: int) -> Any:
        return square_root(backend, x, batch_axes=batch_axes, on_failure="nan", return_info=True)[1]

    for call in (
        lambda x: found(x, 1),
        lambda x: backend.vmap(lambda x: found(x, 0))(x),
        backend.jit(lambda x: found(x, 1)),
    ):
        status, residual, iterations, contraction = (np.asarray(field) for field in call(x))
        tolerance = SHORT.tolerance_at(np.finfo(np.float64).eps)
        assert [STATUSES[each] for each in status[[0, 2]]] == [Status.SOLVED] * 2
        assert STATUSES[status[1]] in (Status.STAGNATED, Status.SINGULAR)
        assert (residual[[0, 2]] <= tolerance).all()
        assert not residual[1] <= tolerance
        assert (iterations[[0, 2]] < 10).all()
        assert (contraction[[0, 2]] < 0.1).all()


@each_backend
def test_a_slow_contraction_is_measured_and_one_that_is_none_is_named(backend: Backend) -> None:
    def solve(c: float, **settings: Any) -> Any:
        return backend.functions["fixed_point"](
            lambda z, c: c * z + 1,
            backend.array(np.zeros(1)),
            c,
            solver=FixedPointIteration(**settings),
            return_info=True,
        )

    _, info = solve(0.6)
    assert float(info.contraction) == pytest.approx(0.6, rel=1e-5)
    with pytest.raises(ConvergenceError, match=r"grew by 1\.1 an iteration: no contraction"):
        solve(1.1, max_iterations=40)


@each_backend
def test_explanations(backend: Backend) -> None:
    x = backend.array(X)
    text = backend.functions["root"].explain(
        lambda z, x: z**2 - x, x, x, batch_axes=1, solver=Newton(tolerance=1e-3), backward=LU(), on_failure="warn"
    )
    lines = text.splitlines()
    assert lines[0] == "root: F(z, theta) = 0; 2 unknowns, for each element of a batch (3,)"
    assert lines[1].startswith("solver: Newton(tolerance=0.001")
    assert "|F(z)| <= 0.001, the largest entry, or after 100 iterations" in lines[2]
    assert lines[3].startswith("differentiated: the equation")
    assert lines[4].startswith("linear systems: LU(")
    assert lines[5].endswith("|J u - rhs| <= 1e-10 |rhs|")
    assert lines[6] == "on failure: warn"
    assert lines[7].startswith("note: Newton stops at 0.001, LU at 1e-10")
    unrolled = backend.functions["argmin"].explain(
        lambda z, x: ((z - x) ** 2).sum(-1), x, x, batch_axes=1, differentiate="unrolled", last=4
    )
    assert "differentiated: the iterations that ran, the last 4" in unrolled
    assert "linear systems" not in unrolled
    assert "argmin: F = gradient of phi" in unrolled


@each_backend
def test_tolerances_that_do_not_fit_are_warned_of_at_the_user_s_line(backend: Backend) -> None:
    with pytest.warns(AccuracyWarning, match="Newton stops at 0.01, LU at 1e-10") as caught:
        square_root(backend, backend.array(X[:1]), solver=Newton(tolerance=1e-2))
    assert (caught[0].filename, len(caught)) == (__file__, 1)
    with warnings.catch_warnings(record=True) as none:
        square_root(backend, backend.array(X[:1]), solver=Newton(tolerance=1e-5), backward=LU(tolerance=1e-10))
    assert none == []


@each_backend
def test_choices_that_do_not_exist(backend: Backend) -> None:
    for settings, text in (
        ({"on_failure": "ignore"}, 'on_failure=\'ignore\' does not exist; the choices are "raise", "warn", "nan"'),
        ({"differentiate": "explicit"}, "differentiate='explicit' does not exist"),
        ({"solver": "newton"}, "solver='newton' is no solver"),
        ({"backward": "lu"}, "backward='lu' is no solver of linear systems"),
        ({"last": 3}, 'belong to differentiate="unrolled"'),
    ):
        with unchecked(), pytest.raises(OptionError, match=re.escape(text)):
            square_root(backend, backend.array(X[:1]), **settings)


@pytest.mark.parametrize(
    ("z0", "theta", "text"),
    [
        (np.array([1.0 + 1.0j]), 2.0, "z0 has dtype complex128"),
        (np.array([1.0]), 2.0j, "has values of complex128"),
        (np.array([1]), 2, "has values of int64"),
    ],
)
def test_jax_solves_for_real_numbers(z0: Any, theta: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        JAX.functions["root"](lambda z, t: z**2 - t, z0, theta)


def test_many_failures_are_counted_not_listed() -> None:
    with pytest.raises(ConvergenceError) as raised:
        square_root(TORCH, TORCH.array(-np.ones((12, 1))))
    text = str(raised.value)
    assert "for 12 of 12:" in text
    assert text.count("batch index") == 5
    assert "and 7 more" in text


def test_jax_names_what_was_captured() -> None:
    def f(weight: Any) -> Any:
        return JAX.functions["root"](lambda z, x: z * weight - x, JAX.array(np.ones(2)), JAX.array(np.ones(2))).sum()

    for gradient in (jax.grad(f), jax.jit(jax.grad(f)), lambda w: jax.jvp(f, (w,), (w,))):
        with pytest.raises(CaptureError, match="from outside, 'weight', that needs a derivative"):
            gradient(2.0)
    assert float(jax.jit(f)(2.0)) == pytest.approx(1)


def test_warnings_inside_compiled_backward_passes_are_not_errors_of_jax() -> None:
    """One warning for each run, not one for each trace."""
    f = jax.jit(lambda x: square_root(JAX, x, on_failure="warn"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OptLayersWarning)
        for _ in range(2):
            f(JAX.array(X)).block_until_ready()
    assert len([each for each in caught if each.category is AccuracyWarning]) == 2


def test_torch_warnings_of_a_backward_pass_point_at_its_line() -> None:
    x = torch.tensor([[8.0], [0.0]], dtype=torch.float64, requires_grad=True)
    z = cube_root(TORCH, x.detach().requires_grad_(), on_failure="warn")
    with pytest.warns(AccuracyWarning) as caught:
        z.sum().backward()
    assert caught[0].filename == __file__
