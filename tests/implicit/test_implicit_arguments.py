"""The function, z0 and theta: what does not fit is refused in plain words, in both frameworks."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest
from implicit.equations import BACKENDS, JAX, TORCH, Backend
from oracles import unchecked

from optlayers.errors import ArgumentError, ConvergenceError, OptionError, Status
from optlayers.implicit import STATUSES, Anderson, Bisection, FixedPointIteration, Neumann, Newton

each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)


class Pair(NamedTuple):
    u: Any
    w: Any


def ones(backend: Backend, *shape: int) -> Any:
    return backend.array(np.ones(shape))


@each_backend
@pytest.mark.parametrize("kind", ["root", "fixed_point", "argmin"])
def test_functions_of_other_arguments(backend: Backend, kind: str) -> None:
    solve, x = backend.functions[kind], ones(backend, 2)
    for function, takes in ((lambda z: z, r"\(z\)"), (lambda z, a, b: z, r"\(z, a, b\)"), (lambda: 0, r"\(\)")):
        text = rf"{kind} calls its function with two arguments, z and theta, but <function <lambda>> takes {takes}\."
        for call in (
            lambda f: solve(f, x),
            lambda f: solve(f, x, x),
            lambda f: solve.explain(f, x),
            lambda f: solve.jacobian(f, x),
            lambda f: solve.spectral_radius(f, x),
        ):
            with pytest.raises(ArgumentError, match=text):
                call(function)
    for function in (None, x, "F"):
        with unchecked(), pytest.raises(ArgumentError, match=rf"{kind} takes a function of z and theta first, not "):
            solve(function, x, x)


@each_backend
def test_errors_inside_the_function_are_its_own(backend: Backend) -> None:
    def F(z: Any, theta: Any) -> Any:
        raise TypeError("F() takes 1 positional argument, says somebody inside")

    with pytest.raises(TypeError, match="says somebody inside"):
        backend.functions["root"](F, ones(backend, 2), 1.0)


@each_backend
def test_functions_whose_signature_is_not_known(backend: Backend) -> None:
    class Callable:
        def __call__(self, *arguments: Any, **named: Any) -> Any:
            z, theta = arguments
            return z - theta

    x = ones(backend, 2)
    np.testing.assert_allclose(np.asarray(backend.functions["root"](Callable(), 0 * x, x)), 1, rtol=1e-9)


@each_backend
def test_forgotten_batch_axes(backend: Backend) -> None:
    x, argmin = ones(backend, 8, 3), backend.functions["argmin"]
    with pytest.raises(ArgumentError, match=r"of shape \(\), not \(8,\)\. .* give batch_axes=1, or sum phi over them"):
        argmin(lambda z, t: ((z - t) ** 2).sum(-1), x, x)
    with pytest.raises(ArgumentError, match=r"of shape \(\), not \(8, 3\)\. .* give batch_axes=2"):
        argmin(lambda z, t: (z - t) ** 2, x, x)
    with pytest.raises(ArgumentError, match=r"of shape \(8,\), not \(\)\. .* or give batch_axes=0"):
        argmin(lambda z, t: ((z - t) ** 2).sum(), x, x, batch_axes=1)
    with pytest.raises(ArgumentError, match=r"of shape \(\), not \(1,\)\.(\n|$)"):
        argmin(lambda z, t: ((z - t) ** 2).sum()[None], x, x)


@each_backend
@pytest.mark.parametrize(("value", "shown"), [(1.0, r"1\.0"), (None, "None"), ("a", "'a'"), ([1.0], r"\[1\.0\]")])
def test_values_of_phi_that_are_no_arrays(backend: Backend, value: Any, shown: str) -> None:
    with pytest.raises(
        ArgumentError, match=rf"phi must return an array of shape \(\), computed from z .*, not {shown}"
    ):
        backend.functions["argmin"](lambda z, t: value, ones(backend, 2), 1.0)


@each_backend
@pytest.mark.parametrize("kind", ["root", "fixed_point"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (lambda z: None, r"None\. Has the function no return statement\?"),
        (lambda z: "a", "'a'"),
        (lambda z: [z], r"\[\(2, 3\)\]"),
        (lambda z: (z, z), r"\(\(2, 3\), \(2, 3\)\)"),
        (lambda z: z.sum(), r"\(\)"),
        (lambda z: z.T, r"\(3, 2\)"),
        (lambda z: 1.0, r"(1\.0|\(\))"),
        (lambda z: {}, r"{}"),
    ],
)
def test_values_that_are_not_like_z0(backend: Backend, kind: str, value: Any, shown: str) -> None:
    name = {"root": "F", "fixed_point": "g"}[kind]
    text = rf"the value of {name} must be like z0: arrays of shapes \(2, 3\) are expected, not {shown}"
    with pytest.raises(ArgumentError, match=text):
        backend.functions[kind](lambda z, t: value(z), ones(backend, 2, 3), 1.0)


def test_torch_takes_no_arrays_of_numpy_for_values() -> None:
    with pytest.raises(ArgumentError, match=r"shapes \(2,\) are expected, not <ndarray of shape \(2,\)>"):
        TORCH.functions["root"](lambda z, t: np.ones(2), ones(TORCH, 2), 1.0)


@each_backend
def test_trees_of_another_structure(backend: Backend) -> None:
    root, x = backend.functions["root"], ones(backend, 2)
    z0 = {"u": x, "w": x}
    for value in (
        lambda z: {"a": z["u"], "b": z["w"]},
        lambda z: {"u": z["u"], "w": z["w"], "x": z["w"]},
        lambda z: {"u": z["u"]},
        lambda z: (z["u"], z["w"]),
        lambda z: {"u": {"w": z["w"]}, "w": z["u"]},
        lambda z: Pair(**z),
    ):
        with pytest.raises(ArgumentError, match=r"must be like z0: arrays of shapes {'u': \(2,\), 'w': \(2,\)} are"):
            root(lambda z, t: value(z), z0, x)  # noqa: B023
    with pytest.raises(ArgumentError, match=r"shapes \(\(2,\), \(2,\)\) are expected, not \[\(2,\), \(2,\)\]"):
        root(lambda z, t: list(z), (x, x), x)


@each_backend
def test_entries_of_dicts_are_found_by_their_keys(backend: Backend) -> None:
    """In whatever order the function writes them."""
    x = ones(backend, 2)
    for z0, value in (
        ({"u": x, "w": x}, lambda z: {"w": z["w"] - 2, "u": z["u"] - 1}),
        ({"w": x, "u": x}, lambda z: {"u": z["u"] - 1, "w": z["w"] - 2}),
        ({"w": x, "u": x}, lambda z: OrderedDict(u=z["u"] - 1, w=z["w"] - 2)),
        (OrderedDict(w=x, u=x), lambda z: {"u": z["u"] - 1, "w": z["w"] - 2}),
    ):
        z = backend.functions["root"](lambda z, t: value(z), z0, ())  # noqa: B023
        assert type(z) is type(z0)
        np.testing.assert_allclose([np.asarray(z["u"]), np.asarray(z["w"])], [[1, 1], [2, 2]], rtol=1e-9)
    nested = {"a": ({"u": x, "w": x}, x)}
    z = backend.functions["root"](
        lambda z, t: {"a": ({"w": z["a"][0]["w"] - 2, "u": z["a"][0]["u"] - 1}, z["a"][1] - 3)}, nested
    )
    np.testing.assert_allclose(np.asarray(z["a"][0]["w"]), 2, rtol=1e-9)
    pair = backend.functions["root"](lambda z, t: Pair(u=z.u - 1, w=z.w - 2), Pair(x, x))
    np.testing.assert_allclose(np.asarray(pair.w), 2, rtol=1e-9)


@each_backend
def test_nothing_to_solve_for(backend: Backend) -> None:
    for z0 in (backend.array(np.ones(0)), {}, backend.array(np.ones((2, 0)))):
        with pytest.raises(ArgumentError, match=r"z0 has no entries for an element of the batch: its arrays have the"):
            backend.functions["root"](lambda z, t: z, z0, 1.0)


def calls(backend: Backend) -> list[Any]:
    """As it is, and compiled in JAX."""
    return [lambda f, *x: f(*x)] + ([lambda f, *x: backend.jit(f)(*x)] if backend.name == "jax" else [])


FUNCTIONS: dict[str, Any] = {
    "root": lambda z, t: z**2 - t,
    "fixed_point": lambda z, t: z / 2 + t,
    "argmin": lambda z, t: ((z - t) ** 2).sum(-1),
}


@each_backend
@pytest.mark.parametrize(("place", "number"), [("z0", np.nan), ("theta", np.nan), ("theta", np.inf)])
@pytest.mark.parametrize(
    ("kind", "differentiate"),
    [("root", "implicit"), ("fixed_point", "implicit"), ("argmin", "implicit"), ("root", "unrolled")],
)
def test_numbers_that_are_none(
    backend: Backend, place: str, number: float, kind: str, differentiate: str, without_checks: None
) -> None:
    """The element is named, and what may be wrong with it."""
    good, bad = np.array([[1.0, 1.0], [4.0, 4.0]]), np.array([[1.0, 1.0], [4.0, number]])
    z0, theta = (backend.array(bad if name == place else good) for name in ("z0", "theta"))
    text = (
        r"(?s)for 1 of 2:\s+batch index \(1,\): not finite at the initial point \(F is infinite or NaN at z0; z0 or "
        "theta may hold such numbers"
    )

    def solve(z0: Any, theta: Any, **settings: Any) -> Any:
        solver = backend.functions[kind]
        return solver(FUNCTIONS[kind], z0, theta, batch_axes=1, differentiate=differentiate, **settings)

    for call in calls(backend):
        with pytest.raises(Exception, match=text) as raised:
            np.asarray(call(solve, z0, theta))
        assert "ConvergenceError" in repr(raised.value)
    z, info = solve(z0, theta, on_failure="nan", return_info=True)
    assert [STATUSES[status] for status in np.asarray(info.status)] == [Status.SOLVED, Status.NOT_FINITE]
    assert np.isfinite(np.asarray(z)[0]).all()
    assert np.isnan(np.asarray(z)[1]).all()


@each_backend
def test_points_where_the_function_has_no_value_are_no_beginnings(backend: Backend) -> None:
    for solver in (Newton(), Bisection(low=1.0, high=4.0), lambda F, z0: z0):
        with pytest.raises(
            ConvergenceError, match=r"not finite at the initial point .* or z0 lie where F has no value"
        ):
            backend.functions["root"](
                lambda z, t: backend.xp.log(z) - t, ones(backend, 1) * -1, backend.array(np.array([1.0])), solver=solver
            )


@each_backend
def test_what_explanations_say(backend: Backend) -> None:
    root, x = backend.functions["root"], ones(backend, 1)
    assert "F(z, theta) = 0; 1 unknown\n" in root.explain(lambda z, t: z, x)
    assert "; 2 unknowns\n" in root.explain(lambda z, t: z, ones(backend, 2))
    text = root.explain(lambda z, t: z, x, backward=Neumann(terms=4))
    assert "linear systems: Neumann(terms=4)\n" in text
    assert "truncated: the sum of 4 terms, or fewer where |J u - rhs| <= 1e-10 |rhs|; not exact" in text
    assert "solved where" not in text
    text = root.explain(lambda z, t: z, x, backward=FixedPointIteration(damping=0.5))
    assert "linear systems: Iterated(solver=FixedPointIteration(damping=0.5))\n" in text
    with pytest.warns(match="fixed-point iteration at 1e-10|Anderson acceleration at 1e-10"):
        root(lambda z, t: z - t, x, x, solver=Newton(tolerance=0.1), backward=Anderson())


@each_backend
def test_the_spectral_radius_needs_two_iterations(backend: Backend) -> None:
    x = ones(backend, 2)
    for iterations in (0, 1, 2.0, True):
        with unchecked(), pytest.raises(OptionError, match=r"iterations=.*\): an integer from 2 is expected"):
            backend.functions["fixed_point"].spectral_radius(lambda z, t: z / 2, x, x, iterations=iterations)


def test_jax_calls_z0_that_holds_no_arrays_by_what_it_holds() -> None:
    for z0 in (None, "z0"):
        with pytest.raises(ArgumentError, match=r"z0 has no entries .* shapes (None|'z0')\. One unknown at least"):
            JAX.functions["root"](lambda z, t: z, z0, 1.0)
