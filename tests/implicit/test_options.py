"""Options of solver objects: each wrong one is refused where the object is made, by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

import lineax
import numpy as np
import optimistix
import pytest
import torch
from implicit.equations import BACKENDS, Backend
from oracles import unchecked

from optlayers.errors import ArgumentError, OptionError
from optlayers.implicit import (
    GMRES,
    LBFGS,
    LSMR,
    LU,
    AbstractIteration,
    Anderson,
    BiCGStab,
    Bisection,
    Broyden,
    ConjugateGradients,
    Custom,
    DenseInverse,
    FixedPointIteration,
    GradientDescent,
    Iterated,
    LineSearch,
    Neumann,
    Newton,
    NormalConjugateGradients,
    Preconditioner,
)
from optlayers.jax.lineax import Lineax
from optlayers.jax.optimistix import Optimistix

each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)


def identity(F: Any, z: Any) -> Any:
    return z


REQUIRED: dict[type, dict[str, Any]] = {
    Newton: {},
    Broyden: {},
    Anderson: {},
    FixedPointIteration: {},
    LBFGS: {},
    GradientDescent: {},
    Bisection: {"low": 0.0, "high": 1.0},
    Custom: {"function": identity},
    LineSearch: {},
    LU: {},
    GMRES: {},
    BiCGStab: {},
    ConjugateGradients: {},
    NormalConjugateGradients: {},
    LSMR: {},
    Neumann: {},
    Iterated: {"solver": Anderson()},
    Lineax: {"solver": lineax.GMRES(rtol=1e-9, atol=1e-9)},
    Optimistix: {"solver": optimistix.Newton(rtol=1e-9, atol=1e-9)},
}
"""Every class with options, and those that it must have."""

NEVER = ("1e-8", "no such choice", True, float("nan"), -float("inf"), [1.0], {}, object(), Newton, LU, 1.0j)
"""What no option takes."""

ALSO_WRONG: dict[str, tuple[Any, ...]] = {
    "tolerance": (0.0, -1e-8, float("inf"), np.array(1e-8), np.array([1e-8]), torch.tensor(1e-8)),
    "max_iterations": (0, -1, 10.0, float("inf"), None, np.array(3)),
    "stop": (None, 1, "ABSOLUTE"),
    "divergence": (None, 0.5, 0, -1.0),
    "patience": (0, 1.5),
    "depth": (0, 1.5, None),
    "restart": (0, 1.5, None),
    "terms": (0, 1.5, None),
    "max_halvings": (-1, 1.5, None),
    "max_steps": (0, 1.5, None),
    "max_trials": (0, 1.5, None),
    "sufficient_decrease": (0, 0.5, 1.0, None),
    "curvature": (0, 1.0, 1e-5, None),
    "noise": (-1.0, None, float("inf")),
    "damping": (0, -1.0, None, float("inf")),
    "regularization": (-1e-9, None, float("inf")),
    "growth": (0.5, None),
    "scale": (0, 0.0, None, float("inf")),
    "safety": (0, 1, None),
    "step_length": (0, -0.1, float("inf")),
    "memory": (-0.1, 1, None),
    "linear": (None, "lu", GMRES, Anderson()),
    "search": (None, "armijo", LineSearch),
    "preconditioner": (lambda r, transpose: r, np.eye(3), torch.eye(3), Preconditioner),
    "low": (None, float("inf"), (0.0, 1.0)),
    "high": (None, float("inf"), (0.0, 1.0)),
    "solver": (None, LU(), Anderson),
    "function": (None, lambda F: F, np.eye(2)),
}


@pytest.mark.parametrize(
    ("kind", "option"),
    [(kind, field.name) for kind in REQUIRED for field in fields(kind)],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_every_option_is_checked_where_the_object_is_made(kind: type, option: str) -> None:
    for value in (*NEVER, *ALSO_WRONG[option]):
        with unchecked(), pytest.raises(OptionError) as raised:
            kind(**{**REQUIRED[kind], option: value})
        text = str(raised.value)
        assert re.search(rf"\b{option}=", text)
        assert "expected" in text or "the choices are" in text
        assert "array(" not in text
        assert len(text) < 400


@pytest.mark.parametrize("kind", [kind for kind in REQUIRED if kind is not Optimistix], ids=lambda kind: kind.__name__)
def test_objects_show_what_differs_from_the_defaults(kind: type) -> None:
    required = REQUIRED[kind]
    given = repr(kind(**required))
    assert given.startswith(f"{kind.__name__}(")
    assert given.count("=") - str(required.get("solver", "")).count("=") == len(required)
    if kind is not LineSearch:
        given = repr(kind(**required, tolerance=1e-8, max_iterations=7))
        assert "tolerance=1e-08, max_iterations=7" in given


def test_what_objects_show() -> None:
    large = np.ones((50, 50))
    assert repr(Newton()) == "Newton()"
    assert repr(Newton(linear=GMRES(restart=5))) == "Newton(linear=GMRES(restart=5))"
    assert repr(LBFGS(search=LineSearch(noise=2.0))) == "LBFGS(search=LineSearch(noise=2.0))"
    assert repr(Bisection(low=0.0, high=large)) == "Bisection(low=0.0, high=<ndarray of shape (50, 50)>)"
    assert repr(GMRES(preconditioner=DenseInverse(large))) == (
        "GMRES(preconditioner=DenseInverse(<ndarray of shape (50, 50)>))"
    )
    assert repr(Preconditioner(identity)) == "Preconditioner(<function identity>)"
    assert repr(Custom(function=identity)) == "Custom(function=<function identity>)"
    assert repr(LU(stop="absolute")) == "LU(stop='absolute')"


def test_numpy_s_numbers_are_taken_for_python_s() -> None:
    """A float64 of NumPy would turn single precision into double."""
    with unchecked():
        solver = Anderson(depth=np.int64(3), damping=np.float64(0.5), tolerance=Fraction(1, 8))  # type: ignore[arg-type]
        assert type(GMRES(tolerance=np.float32(0.5)).tolerance) is float
    assert solver == Anderson(depth=3, damping=0.5, tolerance=0.125)
    assert [type(each) for each in (solver.depth, solver.damping, solver.tolerance)] == [int, float, float]


def test_infinite_limits_are_choices() -> None:
    Anderson(growth=float("inf"), divergence=float("inf"))
    Broyden(growth=float("inf"))


def test_an_iterated_solver_has_the_name_of_its_iteration() -> None:
    assert Iterated(solver=Anderson()).name == "Anderson acceleration"
    assert Iterated.of(FixedPointIteration()).name == "fixed-point iteration"


@pytest.mark.parametrize("kind", [LU, Lineax])
def test_what_uses_no_preconditioner_takes_none(kind: type) -> None:
    with pytest.raises(OptionError, match=r"uses no preconditioner; .* GMRES\(preconditioner=\.\.\.\)"):
        kind(**REQUIRED[kind], preconditioner=Preconditioner(lambda r, transpose: r))


def test_functions_of_another_signature() -> None:
    with pytest.raises(OptionError, match=r"a function \(r, transpose\) is expected, but it takes \(r\)"):
        Preconditioner(lambda r: r)
    with unchecked(), pytest.raises(OptionError, match=r"a function \(r, transpose\) is expected"):
        Preconditioner(np.eye(2))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"an array of matrices \(\*B, n, n\) is expected"):
        DenseInverse(np.ones((2, 3)))


@each_backend
@pytest.mark.parametrize(
    ("preconditioner", "text"),
    [
        (
            lambda backend: DenseInverse(backend.array(np.eye(3))),
            r"of a matrix of 3 rows, but the system has 2 unknowns",
        ),
        (
            lambda backend: Preconditioner(lambda r, transpose: r[..., :1]),
            r"must return an array like r, of shape \(2,\)",
        ),
        (lambda backend: Preconditioner(lambda r, transpose: None), "like r, .*, not None"),
    ],
)
def test_preconditioners_of_another_size(backend: Backend, preconditioner: Any, text: str) -> None:
    solver = Newton(linear=GMRES(preconditioner=preconditioner(backend)))
    x = backend.array(np.array([2.0, 3.0]))
    with unchecked(), pytest.raises(ArgumentError, match=text):
        backend.functions["root"](lambda z, x: z**2 - x, x, x, solver=solver)


def test_a_solver_of_one_s_own_shows_and_checks_its_options() -> None:
    @dataclass(frozen=True, kw_only=True, repr=False)
    class Own(AbstractIteration):
        weight: float = 1.0

        def start(self, problem: Any, z: Any, residual: Any) -> Any:
            return ()

        def step(self, problem: Any, z: Any, residual: Any, memory: Any) -> Any:
            return z - residual, ()

    assert repr(Own(weight=2.0)) == "Own(weight=2.0)"
    with pytest.raises(OptionError, match=r"Own\(tolerance=-1\.0\): a positive number is expected"):
        Own(tolerance=-1.0)
