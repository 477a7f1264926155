"""Each kind of fault is found, named at its smallest expression, and comes with a rewriting that compiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import pytest
from cvxpy.utilities import scopes

from optlayers.compiler.diagnosis import MOST_CHARACTERS_SHOWN, diagnose
from optlayers.errors import MixedIntegerError, NotConvexError, NotDPPError, ProblemError, UnsupportedError

s, t, u = cp.Variable(name="s"), cp.Variable(name="t"), cp.Variable(name="u")
x, y, z = (cp.Variable(3, name=name) for name in "xyz")
w = cp.Variable(2, name="w", pos=True)
p, q = cp.Parameter(name="p"), cp.Parameter(name="q", nonneg=True)
r, inv_r = cp.Parameter(name="r", pos=True), cp.Parameter(name="inv_r", pos=True)
new = cp.Parameter(name="new", nonneg=True)
c, d = cp.Parameter(3, name="c"), cp.Parameter(3, name="d")
A, B, T = (cp.Parameter((3, 3), name=name) for name in "ABT")
P = cp.Parameter((3, 3), name="P", PSD=True)
N = cp.Parameter((3, 3), name="N", NSD=True)
S = cp.Parameter((3, 3), name="S", symmetric=True)
identity = np.eye(3)
bounded = cp.Variable(3, name="bounded", bounds=[c, None])


def minimize(expression: cp.Expression, *constraints: cp.Constraint) -> cp.Problem:
    """The problem that minimises `expression`."""
    return cp.Problem(cp.Minimize(expression), list(constraints))


def maximize(expression: cp.Expression, *constraints: cp.Constraint) -> cp.Problem:
    """The problem that maximises `expression`."""
    return cp.Problem(cp.Maximize(expression), list(constraints))


def subject_to(*constraints: cp.Constraint) -> cp.Problem:
    """The problem that minimises t under constraints."""
    return minimize(t, *constraints)


@dataclass(frozen=True)
class Case:
    """A problem at fault: the error, the text of the smallest expression, fragments of the message, a rewriting."""

    name: str
    build: Callable[[], cp.Problem]
    error: type[ProblemError]
    expression: str
    fragments: tuple[str, ...]
    rewrite: Callable[[], cp.Problem] | None = None


def case(
    name: str,
    build: Callable[[], cp.Problem],
    error: type[ProblemError],
    expression: str,
    *fragments: str,
    rewrite: Callable[[], cp.Problem] | None = None,
) -> Case:
    """A case, with its fragments listed."""
    return Case(name, build, error, expression, fragments, rewrite)


LEAF_CASES = [
    case("boolean", lambda: minimize(cp.Variable(name="b", boolean=True)), MixedIntegerError, "b", "bounds=[0, 1]"),
    case("integer", lambda: minimize(cp.Variable(name="k", integer=True)), MixedIntegerError, "k", "leave integer out"),
    case(
        "boolean entries",
        lambda: minimize(cp.sum(cp.Variable(3, name="b", boolean=[(0,), (2,)]))),
        MixedIntegerError,
        "b",
        "boolean",
    ),
    case(
        "finite set",
        lambda: subject_to(u >= 0, cp.FiniteSet(t, [1, 2])),
        MixedIntegerError,
        "FiniteSet(t",
        "constraints[1]",
        "interval",
    ),
    case(
        "integer before nonconvex",
        lambda: minimize(t * cp.Variable(name="k", integer=True)),
        MixedIntegerError,
        "k",
    ),
    case("no variable", lambda: minimize(q), UnsupportedError, "minimize q", "no variable", "no layer is needed"),
    case(
        "complex variable",
        lambda: minimize(cp.real(cp.Variable(name="v", complex=True))),
        UnsupportedError,
        "variable v",
        "two real variables",
    ),
    case(
        "complex parameter",
        lambda: minimize(cp.real(cp.Parameter(name="v", imag=True)) * t),
        UnsupportedError,
        "parameter v",
        "two real parameters",
    ),
]

CONVEXITY_CASES = [
    case("product", lambda: minimize(t * u), NotConvexError, "t * u", "product of two variables", "data"),
    case("inner product", lambda: subject_to(u >= 0, x @ y <= t), NotConvexError, "x @ y", "constraints[1]"),
    case(
        "deep product",
        lambda: minimize(cp.norm(x) + cp.exp(2 * t * u + 1)),
        NotConvexError,
        "2.0 * t * u",
        "product of two variables",
    ),
    case(
        "square by hand",
        lambda: minimize(x @ x),
        NotConvexError,
        "x @ x",
        "cp.sum_squares",
        rewrite=lambda: minimize(cp.sum_squares(x)),
    ),
    case(
        "quadratic form by hand",
        lambda: minimize((x - c) @ identity @ (x - c)),
        NotConvexError,
        "(x + -c) @ [[1.00 0.00 0.00] [0.00 1.00 0.00] [0.00 0.00 1.00]] @ (x + -c)",
        "cp.quad_form",
        rewrite=lambda: minimize(cp.quad_form(z, identity), z == x - c),
    ),
    case(
        "entropy",
        lambda: minimize(t * cp.log(t)),
        NotConvexError,
        "t * log(t)",
        "-cp.entr(v)",
        "cp.rel_entr",
        rewrite=lambda: minimize(-cp.entr(t)),
    ),
    case(
        "reciprocal",
        lambda: minimize(1 / t),
        NotConvexError,
        "1.0 / t",
        "cp.inv_pos(v)",
        rewrite=lambda: minimize(cp.inv_pos(t)),
    ),
    case(
        "quadratic over linear",
        lambda: minimize(cp.sum_squares(x) / t),
        NotConvexError,
        "quad_over_lin(x, 1.0, None, False) / t",
        "cp.quad_over_lin(u, v)",
        rewrite=lambda: minimize(cp.quad_over_lin(x, t)),
    ),
    case(
        "quotient", lambda: subject_to(t / u <= 1), NotConvexError, "t / u", "multiply the constraint", "constraints[0]"
    ),
    case("geometric program", lambda: minimize(w[0] / w[1]), NotConvexError, "w[0] / w[1]", "gp=True"),
    case("minimize concave", lambda: minimize(cp.log(t)), NotConvexError, "log(t)", "minimize needs a convex", "sign"),
    case(
        "maximize convex",
        lambda: maximize(cp.norm(x)),
        NotConvexError,
        "PnormApprox(x, 2)",
        "maximize needs a concave",
        "it is convex, but must be concave",
    ),
    case(
        "minus convex",
        lambda: minimize(t - 2 * cp.norm(x)),
        NotConvexError,
        "PnormApprox(x, 2)",
        "it is convex, but must be concave",
    ),
    case(
        "one concave term",
        lambda: minimize(cp.norm(x) + cp.sum(cp.sqrt(y))),
        NotConvexError,
        "PowerApprox(y, 0.5)",
        "it is concave, but must be convex",
    ),
    case(
        "concave term inside",
        lambda: minimize(cp.exp(cp.norm(x) + cp.sqrt(t))),
        NotConvexError,
        "PowerApprox(t, 0.5)",
        "inside exp",
    ),
    case(
        "reverse convex",
        lambda: subject_to(t >= 0, cp.norm(x) >= 1),
        NotConvexError,
        "PnormApprox(x, 2)",
        "constraints[1], 1.0 <= PnormApprox(x, 2)",
        "linearise",
        "do not form a convex set",
    ),
    case(
        "concave below",
        lambda: subject_to(cp.log(u) <= 2),
        NotConvexError,
        "log(u)",
        "inverse function",
        rewrite=lambda: subject_to(u <= np.exp(2)),
    ),
    case(
        "nonaffine equality",
        lambda: subject_to(t**2 == 1),
        NotConvexError,
        "PowerApprox(t, 2.0)",
        "an equality needs affine sides",
        "relax",
    ),
    case(
        "nonaffine cone argument",
        lambda: subject_to(cp.SOC(cp.abs(t), x)),
        NotConvexError,
        "abs(t)",
        "a cone constraint needs affine arguments",
    ),
    case(
        "root of squares",
        lambda: minimize(cp.sqrt(cp.sum_squares(x))),
        NotConvexError,
        "PowerApprox(quad_over_lin(x, 1.0, None, False), 0.5)",
        "cp.norm(v, 2)",
        rewrite=lambda: minimize(cp.norm(x, 2)),
    ),
    case(
        "root of squares and constant",
        lambda: minimize(cp.sqrt(1 + cp.sum_squares(x))),
        NotConvexError,
        "PowerApprox(1.0 + quad_over_lin(x, 1.0, None, False), 0.5)",
        "cp.hstack([v, c])",
        rewrite=lambda: minimize(cp.norm(cp.hstack([x, 1]), 2)),
    ),
    case(
        "log of sum of exp",
        lambda: minimize(cp.log(cp.sum(cp.exp(x)))),
        NotConvexError,
        "log(Sum(exp(x), None, False))",
        "cp.log_sum_exp(v)",
        rewrite=lambda: minimize(cp.log_sum_exp(x)),
    ),
    case(
        "softplus",
        lambda: minimize(cp.log(1 + cp.exp(t))),
        NotConvexError,
        "log(1.0 + exp(t))",
        "cp.logistic(v)",
        rewrite=lambda: minimize(cp.logistic(t)),
    ),
    case("log of exp", lambda: minimize(cp.log(cp.exp(t))), NotConvexError, "log(exp(t))", "log(exp(v)) is v"),
    case("exp of log", lambda: minimize(cp.exp(cp.log(t))), NotConvexError, "exp(log(t))", "exp(log(v)) is v"),
    case(
        "square of unknown sign",
        lambda: minimize(cp.square(cp.square(t) - 1)),
        NotConvexError,
        "PowerApprox(PowerApprox(t, 2.0) + -1.0, 2.0)",
        "cp.pos(v)",
        rewrite=lambda: minimize(cp.square(cp.pos(cp.square(t) - 1))),
    ),
    case(
        "composition",
        lambda: minimize(cp.norm(cp.sqrt(x))),
        NotConvexError,
        "PnormApprox(PowerApprox(x, 0.5), 2)",
        "needs its argument convex here, but PowerApprox(x, 0.5) is concave",
        "composition rule",
    ),
    case("product of entries", lambda: maximize(cp.prod(x)), NotConvexError, "Prod(x, None, False)", "cp.geo_mean(v)"),
    case(
        "indefinite matrix",
        lambda: minimize(cp.quad_form(x, np.diag([1.0, -1.0, 1.0]))),
        NotConvexError,
        "QuadForm(x, [[1.00 0.00 0.00] [0.00 -1.00 0.00] [0.00 0.00 1.00]])",
        "eigenvalues of both signs",
        "cp.psd_wrap",
    ),
    case(
        "matrix parameter not declared PSD",
        lambda: minimize(cp.quad_form(x, S)),
        NotConvexError,
        "QuadForm(x, S)",
        "cp.Parameter((n, n), PSD=True)",
        rewrite=lambda: minimize(cp.quad_form(x, P)),
    ),
    case(
        "weight of unknown sign",
        lambda: minimize(cp.sum_squares(x) + p * cp.norm(x, 1)),
        NotConvexError,
        "p * norm1(x)",
        "nonneg=True",
        "the sign of p",
        rewrite=lambda: minimize(cp.sum_squares(x) + q * cp.norm(x, 1)),
    ),
    case(
        "denominator of unknown sign",
        lambda: minimize(cp.norm(x) / p),
        NotConvexError,
        "PnormApprox(x, 2) / p",
        "nonneg=True",
    ),
    case(
        "constant of both signs",
        lambda: minimize(cp.sum(cp.multiply(np.array([1.0, -1.0, 1.0]), cp.abs(x)))),
        NotConvexError,
        "[ 1. -1. 1.] * abs(x)",
        "both signs",
    ),
    case("exponent", lambda: minimize(t**r), NotConvexError, "PowerApprox(t, None)", "exponent r", "a number"),
    case("quasiconvex", lambda: minimize(cp.sum(cp.ceil(x))), UnsupportedError, "ceil(x)", "DQCP", "approximation"),
    case("nonlinear", lambda: minimize(cp.nlp.sin(t)), UnsupportedError, "sin(t)", "DNLP", "argmin"),
]

PARAMETER_CASES = [
    case(
        "product of scalars",
        lambda: minimize(p * q * t),
        NotDPPError,
        "p * q",
        "the product p * q one new parameter",
        "before the layer (with torch or jax, which differentiate it)",
        rewrite=lambda: minimize(new * t),
    ),
    case(
        "product of matrices",
        lambda: subject_to(cp.norm(A @ B @ x) <= t),
        NotDPPError,
        "A @ B",
        "the product A @ B one new parameter",
        "constraints[0]",
        rewrite=lambda: subject_to(cp.norm(T @ x) <= t),
    ),
    case(
        "product of a product",
        lambda: minimize(p * (q * t)),
        NotDPPError,
        "p * q * t",
        "(p * q) * x for p * (q * x)",
        rewrite=lambda: minimize(new * t),
    ),
    case(
        "product of parameters on the right-hand side",
        lambda: subject_to(A @ x == p * c),
        NotDPPError,
        "Promote(p, (3,)) * c",
        "multiplies parameters (p, c)",
        rewrite=lambda: subject_to(A @ x == d),
    ),
    case(
        "matrix times shifted variable",
        lambda: minimize(cp.norm(A @ (x - c))),
        NotDPPError,
        "A @ (x + -c)",
        "A @ x - b with b = A @ p",
        rewrite=lambda: minimize(cp.norm(A @ x - d)),
    ),
    case(
        "quotient around a product",
        lambda: minimize(p * q / r * t),
        NotDPPError,
        "p * q",
        "make the product p * q / r one new parameter",
        rewrite=lambda: minimize(new * t),
    ),
    *(
        case(
            text,
            lambda factor=factor: minimize(factor * t),  # type: ignore[misc]
            NotDPPError,
            text,
            f"make {text} one new parameter",
            "before the layer",
            rewrite=lambda: minimize(new * t),
        )
        for factor, text in (
            (cp.exp(p), "exp(p)"),
            (cp.sqrt(r), "PowerApprox(r, 0.5)"),
            (1 / r, "1.0 / r"),
            (p**2, "PowerApprox(p, 2.0)"),
            (cp.square(p), "PowerApprox(p, 2.0)"),
            (cp.inv_pos(r), "PowerApprox(r, -1.0)"),
            (cp.maximum(p, q), "maximum(p, q)"),
            (cp.lambda_max(P), "lambda_max(P)"),
        )
    ),
    case(
        "nonaffine weight of a norm",
        lambda: minimize(cp.exp(p) * cp.norm(x)),
        NotDPPError,
        "exp(p)",
        "nonneg=True",
        rewrite=lambda: minimize(new * cp.norm(x)),
    ),
    case(
        "nonaffine term of an equality",
        lambda: subject_to(t == cp.exp(p)),
        NotDPPError,
        "exp(p)",
        "one new parameter",
        rewrite=lambda: subject_to(t == new),
    ),
    case(
        "convex side that must be concave",
        lambda: subject_to(cp.norm(x) <= p**2),
        NotDPPError,
        "PowerApprox(p, 2.0)",
        "one new parameter",
        rewrite=lambda: subject_to(cp.norm(x) <= new),
    ),
    case(
        "nonaffine term inside",
        lambda: minimize(cp.abs(cp.exp(p) - t)),
        NotDPPError,
        "exp(p)",
        "one new parameter",
        rewrite=lambda: minimize(cp.abs(new - t)),
    ),
    case(
        "power of a parameter",
        lambda: minimize(r**t),
        NotDPPError,
        "log(r)",
        "one new parameter",
        rewrite=lambda: minimize(cp.exp(new * t)),
    ),
    case(
        "division",
        lambda: minimize(cp.sum(x / r)),
        NotDPPError,
        "x / Promote(r, (3,))",
        "1 / r, say inv_p",
        "multiply",
        rewrite=lambda: minimize(cp.sum(x * inv_r)),
    ),
    case(
        "division by a product",
        lambda: minimize(t / (p * q)),
        NotDPPError,
        "t / (p * q)",
        "1 / (p * q), say inv_p",
        rewrite=lambda: minimize(t * new),
    ),
    case(
        "quadratic over parameter",
        lambda: minimize(cp.quad_over_lin(x, r)),
        NotDPPError,
        "quad_over_lin(x, r, None, False)",
        "1 / r, say inv_p",
        rewrite=lambda: minimize(inv_r * cp.sum_squares(x)),
    ),
    case(
        "matrix parameter in a constraint",
        lambda: subject_to(t >= 0, cp.quad_form(x, P) <= 1),
        NotDPPError,
        "QuadForm(x, P)",
        "cp.sum_squares(L @ x)",
        "P = L.T @ L",
        "factor P before the layer",
        "constraints[1]",
        rewrite=lambda: subject_to(t >= 0, cp.sum_squares(A @ x) <= 1),
    ),
    case(
        "matrix parameter in objective and constraint",
        lambda: minimize(cp.quad_form(x, P), cp.quad_form(y, P) <= 1),
        NotDPPError,
        "QuadForm(y, P)",
        "cp.sum_squares(L @ x)",
        rewrite=lambda: minimize(cp.quad_form(x, P), cp.sum_squares(A @ y) <= 1),
    ),
    case(
        "matrix parameter inside exp",
        lambda: minimize(cp.exp(cp.quad_form(x, P))),
        NotDPPError,
        "QuadForm(x, P)",
        "cp.sum_squares(L @ x)",
        rewrite=lambda: minimize(cp.exp(cp.sum_squares(A @ x))),
    ),
    case(
        "matrix parameter inside cumsum",
        lambda: minimize(cp.cumsum(cp.hstack([cp.quad_form(x, P), t]))[1]),
        NotDPPError,
        "QuadForm(x, P)",
        "cp.sum_squares(L @ x)",
    ),
    case(
        "matrix that is not affine",
        lambda: minimize(cp.quad_form(x, cp.psd_wrap(A.T @ A))),
        NotDPPError,
        "A.T @ A",
        "make A.T @ A one new parameter, cp.Parameter((n, n), PSD=True)",
        rewrite=lambda: minimize(cp.quad_form(x, P)),
    ),
    case(
        "weighted matrix parameter",
        lambda: minimize(q * cp.quad_form(x, P)),
        NotDPPError,
        "q * QuadForm(x, P)",
        "both factors have parameters (q, P)",
        "each product of parameters one new parameter",
        rewrite=lambda: minimize(cp.quad_form(x, P)),
    ),
    case(
        "shifted quadratic form, constant matrix",
        lambda: minimize(cp.quad_form(x - c, identity)),
        NotDPPError,
        "QuadForm(x + -c, [[1.00 0.00 0.00] [0.00 1.00 0.00] [0.00 0.00 1.00]])",
        "variable z",
        rewrite=lambda: minimize(cp.quad_form(z, identity), z == x - c),
    ),
    case(
        "shifted quadratic form, matrix parameter",
        lambda: minimize(cp.quad_form(x - c, P)),
        NotDPPError,
        "QuadForm(x + -c, P)",
        "variable z",
        rewrite=lambda: minimize(cp.quad_form(z, P), z == x - c),
    ),
    case(
        "product with bounds that are parameters",
        lambda: minimize(d @ bounded),
        NotDPPError,
        "d @ bounded",
        "bounds as constraints",
        rewrite=lambda: minimize(d @ x, x >= c),
    ),
    case(
        "quadratic form with bounds that are parameters",
        lambda: minimize(cp.quad_form(bounded, P)),
        NotDPPError,
        "QuadForm(bounded, P)",
        "bounds as constraints",
        rewrite=lambda: minimize(cp.quad_form(x, P), x >= c),
    ),
    case(
        "nonaffine bounds",
        lambda: minimize(cp.Variable(name="v", bounds=[p**2, None])),
        NotDPPError,
        "PowerApprox(p, 2.0)",
        "the bounds of variable v",
        rewrite=lambda: minimize(cp.Variable(name="v", bounds=[new, None])),
    ),
    case(
        "convolution",
        lambda: minimize(cp.norm(cp.convolve(c, x))),
        NotDPPError,
        "convolve(c, x)",
        "T @ x",
        rewrite=lambda: minimize(cp.norm(T @ x)),
    ),
    case(
        "threshold",
        lambda: minimize(cp.sum(cp.huber(x, q * r))),
        NotDPPError,
        "q * r",
        "one new parameter",
        rewrite=lambda: minimize(cp.sum(cp.huber(x, new))),
    ),
    case(
        "exponent of a power cone",
        lambda: subject_to(cp.PowCone3D(t, u, s, cp.Parameter(name="a", value=0.5))),
        NotDPPError,
        "Promote(a, (1,))",
        "exponent",
    ),
]

CASES = LEAF_CASES + CONVEXITY_CASES + PARAMETER_CASES

FINE: dict[str, Callable[[], cp.Problem]] = {
    "linear program": lambda: minimize(d @ x, A @ x <= c),
    "no parameters": lambda: minimize(cp.sum_squares(x)),
    "maximize": lambda: maximize(cp.sum(cp.log(x)) - q * cp.norm(x, 1), A @ x == c),
    "matrix parameter": lambda: minimize(cp.quad_form(x, P) + d @ x, x >= 0),
    "negated matrix parameter": lambda: minimize(cp.quad_form(x, P) - cp.quad_form(x, N)),
    "maximize with matrix parameter": lambda: maximize(d @ x - cp.quad_form(x, P)),
    "affine matrix": lambda: minimize(cp.quad_form(x, 2 * P + identity)),
    "wrapped affine matrix": lambda: minimize(cp.quad_form(x, cp.psd_wrap(q * identity))),
    "multiple of matrix parameter": lambda: minimize(3 * cp.quad_form(x, P) / 2 + cp.exp(t)),
    "by-hand quadratic form": lambda: minimize(x.T @ P @ x),
    "constant matrix in a constraint": lambda: subject_to(cp.quad_form(x - c, identity) <= q),
    "shift": lambda: minimize(cp.norm(x - c) + q * cp.sum_squares(x)),
    "parametric bounds": lambda: minimize(cp.sum(cp.Variable(3, bounds=[c, c + q]))),
    "parametric weight": lambda: minimize((q + r) * cp.norm(x) + cp.max(cp.multiply(c, y))),
    "parameter in a root": lambda: subject_to(cp.norm(x) <= cp.sqrt(r)),
    "convex function of a parameter": lambda: subject_to(cp.exp(p) + cp.norm(x) <= t),
    "matrix fraction": lambda: minimize(cp.matrix_frac(x, P + identity)),
    "threshold": lambda: minimize(cp.sum(cp.huber(x - c, 2 * q))),
    "semidefinite": lambda: minimize(cp.trace(S @ cp.Variable((3, 3), PSD=True))),
    "cones": lambda: subject_to(cp.SOC(t, A @ x + c), cp.ExpCone(u, s, t), cp.PowCone3D(t, u, s, 0.3)),
    "boolean constant constraint": lambda: cp.Problem(cp.Minimize(cp.abs(t)), [True]),
    "integer parameter": lambda: subject_to(t >= cp.Parameter(integer=True)),
}


@pytest.mark.parametrize("fault", CASES, ids=lambda fault: fault.name)
def test_fault_is_named(fault: Case) -> None:
    with pytest.raises(ProblemError) as caught:
        diagnose(fault.build())
    message = str(caught.value)
    assert caught.type is fault.error, message
    assert "next step: " in message
    for fragment in (fault.expression, *fault.fragments):
        assert fragment in message


@pytest.mark.parametrize("fault", CONVEXITY_CASES + PARAMETER_CASES, ids=lambda fault: fault.name)
def test_smallest_expression_is_named(fault: Case) -> None:
    with pytest.raises(ProblemError) as caught:
        diagnose(fault.build())
    _, expression, place, reason, step = (line.strip() for line in str(caught.value).splitlines())
    assert expression == f"expression: {fault.expression}"
    assert place.startswith("place: ")
    assert reason.startswith("reason: ")
    assert step.startswith("next step: ")


@pytest.mark.parametrize("fault", PARAMETER_CASES, ids=lambda fault: fault.name)
def test_parameters_are_at_fault_only_in_convex_problems(fault: Case) -> None:
    assert fault.build().is_dcp()


@pytest.mark.parametrize(
    "rewrite",
    [pytest.param(fault.rewrite, id=fault.name) for fault in CASES if fault.rewrite is not None]
    + [pytest.param(build, id=name) for name, build in FINE.items()],
)
def test_fine_problem_compiles_without_values(rewrite: Callable[[], cp.Problem]) -> None:
    problem = rewrite()
    diagnose(problem)
    problem.get_problem_data(cp.CLARABEL)


@pytest.mark.parametrize(
    "build",
    [
        lambda: minimize(cp.exp(cp.quad_form(x, P))),
        lambda: minimize(cp.cumsum(cp.hstack([cp.quad_form(x, P), t]))[1]),
        lambda: minimize(cp.sum(cp.huber(x, q * r))),
    ],
    ids=["exp", "cumsum", "huber"],
)
def test_hidden_fault_is_real(build: Callable[[], cp.Problem]) -> None:
    """CVXPY calls these problems DPP, yet it fails on them; once it does not, the check may go."""
    problem = build()
    assert problem.is_dpp("dcp", quad_form_dpp="qp")
    with pytest.raises((ValueError, AssertionError)):
        problem.get_problem_data(cp.CLARABEL)


def test_long_text_is_cut() -> None:
    long = sum(cp.Variable(name=f"variable_{index}") for index in range(50))
    with pytest.raises(NotConvexError) as caught:
        diagnose(minimize(cp.sqrt(long)))
    expression = str(caught.value).splitlines()[1].strip().removeprefix("expression: ")
    assert len(expression) == MOST_CHARACTERS_SHOWN
    assert expression.endswith("...")


def test_scopes_are_left() -> None:
    with pytest.raises(NotDPPError):
        diagnose(minimize(p * q * t))
    assert not scopes.dpp_scope_active()
    assert not scopes.quad_form_dpp_scope_active()
