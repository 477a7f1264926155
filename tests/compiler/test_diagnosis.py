"""Each kind of fault is found, named at its smallest expression, and comes with a rewriting that compiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cvxpy as cp
import numpy as np
import pytest
from cvxpy.utilities import scopes

from optlayers.compiler.curvature import MOST_CHARACTERS_SHOWN
from optlayers.compiler.diagnosis import diagnose
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

    error: type[ProblemError]
    build: Callable[[], cp.Problem]
    expression: str
    fragments: tuple[str, ...]
    rewrite: Callable[[], cp.Problem] | None


def case(
    error: type[ProblemError],
    build: Callable[[], cp.Problem],
    expression: str,
    *fragments: str,
    rewrite: Callable[[], cp.Problem] | None = None,
) -> Case:
    """A case, with its fragments listed."""
    return Case(error, build, expression, fragments, rewrite)


nonconvex, nonaffine = partial(case, NotConvexError), partial(case, NotDPPError)

PROBLEM_CASES = [
    case(MixedIntegerError, lambda: minimize(cp.Variable(name="b", boolean=True)), "b", "bounds=[0, 1]"),
    case(MixedIntegerError, lambda: minimize(cp.Variable(name="k", integer=True)), "k", "leave integer out"),
    case(MixedIntegerError, lambda: minimize(cp.sum(cp.Variable(3, name="b", boolean=[(0,), (2,)]))), "b", "boolean"),
    case(
        MixedIntegerError,
        lambda: subject_to(u >= 0, cp.FiniteSet(t, [1, 2])),
        "FiniteSet(t",
        "constraints[1]",
        "interval",
    ),
    case(MixedIntegerError, lambda: minimize(t * cp.Variable(name="k", integer=True)), "k"),
    case(UnsupportedError, lambda: minimize(q), "minimize q", "no variable", "no layer is needed"),
    case(
        UnsupportedError,
        lambda: minimize(cp.real(cp.Parameter(name="v", complex=True) * cp.Variable())),
        "parameter v",
        "two real parameters",
    ),
    case(
        UnsupportedError,
        lambda: minimize(cp.real(cp.Parameter(name="v", imag=True)) * t),
        "parameter v",
        "two real parameters",
    ),
    nonconvex(lambda: minimize(w[0] / w[1]), "w[0] / w[1]", "gp=True"),
    nonaffine(
        lambda: subject_to(cp.PowCone3D(t, u, s, cp.Parameter(name="a", value=0.5))),
        "constraints[0], Pow3D",
        "exponent",
    ),
]

CONVEXITY_CASES = [
    nonconvex(lambda: minimize(t * u), "t * u", "product of variables", "data"),
    nonconvex(lambda: subject_to(u >= 0, x @ y <= t), "x @ y", "constraints[1]"),
    nonconvex(lambda: minimize(cp.norm(x) + cp.exp(2 * t * u + 1)), "2.0 * t * u", "product of variables"),
    nonconvex(lambda: minimize(x @ x), "x @ x", "cp.sum_squares", rewrite=lambda: minimize(cp.sum_squares(x))),
    nonconvex(
        lambda: minimize((x - c) @ identity @ (x - c)),
        "(x + -c) @ [[1.00 0.00 0.00] [0.00 1.00 0.00] [0.00 0.00 1.00]] @ (x + -c)",
        "cp.quad_form",
        rewrite=lambda: minimize(cp.quad_form(z, identity), z == x - c),
    ),
    nonconvex(
        lambda: minimize(t * cp.log(t)),
        "t * log(t)",
        "-cp.entr(v)",
        "cp.rel_entr",
        rewrite=lambda: minimize(-cp.entr(t)),
    ),
    nonconvex(lambda: minimize(1 / t), "1.0 / t", "cp.inv_pos(v)", rewrite=lambda: minimize(cp.inv_pos(t))),
    nonconvex(
        lambda: minimize(cp.sum_squares(x) / t),
        "quad_over_lin(x, 1.0, None, False) / t",
        "cp.quad_over_lin(u, v)",
        rewrite=lambda: minimize(cp.quad_over_lin(x, t)),
    ),
    nonconvex(lambda: subject_to(t / u <= 1), "t / u", "multiply the constraint", "constraints[0]"),
    nonconvex(lambda: minimize(cp.log(t)), "log(t)", "minimize needs a convex", "sign"),
    nonconvex(
        lambda: maximize(cp.norm(x)),
        "PnormApprox(x, 2)",
        "maximize needs a concave",
        "it is convex, but must be concave",
    ),
    nonconvex(lambda: minimize(t - 2 * cp.norm(x)), "PnormApprox(x, 2)", "it is convex, but must be concave"),
    nonconvex(
        lambda: minimize(cp.norm(x) + cp.sum(cp.sqrt(y))), "PowerApprox(y, 0.5)", "it is concave, but must be convex"
    ),
    nonconvex(lambda: minimize(cp.exp(cp.norm(x) + cp.sqrt(t))), "PowerApprox(t, 0.5)", "inside exp"),
    nonconvex(
        lambda: subject_to(t >= 0, cp.norm(x) >= 1),
        "PnormApprox(x, 2)",
        "constraints[1], 1.0 <= PnormApprox(x, 2)",
        "linearise",
        "do not form a convex set",
    ),
    nonconvex(
        lambda: subject_to(cp.log(u) <= 2), "log(u)", "inverse function", rewrite=lambda: subject_to(u <= np.exp(2))
    ),
    nonconvex(lambda: subject_to(t**2 == 1), "PowerApprox(t, 2.0)", "an equality needs affine sides", "relax"),
    nonconvex(lambda: subject_to(cp.SOC(cp.abs(t), x)), "abs(t)", "a cone constraint needs affine arguments"),
    nonconvex(
        lambda: minimize(cp.sqrt(cp.sum_squares(x))),
        "PowerApprox(quad_over_lin(x, 1.0, None, False), 0.5)",
        "cp.norm(v, 2)",
        rewrite=lambda: minimize(cp.norm(x, 2)),
    ),
    nonconvex(
        lambda: minimize(cp.sqrt(1 + cp.sum_squares(x))),
        "PowerApprox(1.0 + quad_over_lin(x, 1.0, None, False), 0.5)",
        "cp.hstack([v, c])",
        rewrite=lambda: minimize(cp.norm(cp.hstack([x, 1]), 2)),
    ),
    nonconvex(
        lambda: minimize(cp.log(cp.sum(cp.exp(x)))),
        "log(Sum(exp(x), None, False))",
        "cp.log_sum_exp(v)",
        rewrite=lambda: minimize(cp.log_sum_exp(x)),
    ),
    nonconvex(
        lambda: minimize(cp.log(1 + cp.exp(t))),
        "log(1.0 + exp(t))",
        "cp.logistic(v)",
        rewrite=lambda: minimize(cp.logistic(t)),
    ),
    nonconvex(lambda: minimize(cp.log(cp.exp(t))), "log(exp(t))", "log(exp(v)) is v"),
    nonconvex(lambda: minimize(cp.exp(cp.log(t))), "exp(log(t))", "exp(log(v)) is v"),
    nonconvex(
        lambda: minimize(cp.square(cp.square(t) - 1)),
        "PowerApprox(PowerApprox(t, 2.0) + -1.0, 2.0)",
        "cp.pos(v)",
        rewrite=lambda: minimize(cp.square(cp.pos(cp.square(t) - 1))),
    ),
    nonconvex(
        lambda: minimize(cp.norm(cp.sqrt(x))),
        "PnormApprox(PowerApprox(x, 0.5), 2)",
        "needs its argument convex here, but PowerApprox(x, 0.5) is concave",
        "composition rule",
    ),
    nonconvex(lambda: maximize(cp.prod(x)), "Prod(x, None, False)", "cp.geo_mean(v)"),
    nonconvex(
        lambda: minimize(cp.quad_form(x, np.diag([1.0, -1.0, 1.0]))),
        "QuadForm(x, [[1.00 0.00 0.00] [0.00 -1.00 0.00] [0.00 0.00 1.00]])",
        "not known to be positive semidefinite",
        "cp.psd_wrap",
    ),
    nonconvex(
        lambda: minimize(cp.quad_form(x, S)),
        "QuadForm(x, S)",
        "cp.Parameter((n, n), PSD=True)",
        rewrite=lambda: minimize(cp.quad_form(x, P)),
    ),
    nonconvex(
        lambda: minimize(cp.sum_squares(x) + p * cp.norm(x, 1)),
        "p * norm1(x)",
        "nonneg=True",
        "parameters: p",
        rewrite=lambda: minimize(cp.sum_squares(x) + q * cp.norm(x, 1)),
    ),
    nonconvex(lambda: minimize(cp.norm(x) / p), "PnormApprox(x, 2) / p", "nonneg=True"),
    nonconvex(
        lambda: minimize(cp.sum(cp.multiply(np.array([1.0, -1.0, 1.0]), cp.abs(x)))),
        "[ 1. -1. 1.] * abs(x)",
        "split a constant of both signs",
    ),
    nonconvex(lambda: minimize(t**r), "PowerApprox(t, None)", "exponent r", "a number"),
    case(UnsupportedError, lambda: minimize(cp.sum(cp.ceil(x))), "ceil(x)", "DQCP", "approximation"),
    case(UnsupportedError, lambda: minimize(cp.nlp.sin(t)), "sin(t)", "DNLP", "argmin"),
]

PARAMETER_CASES = [
    nonaffine(
        lambda: minimize(p * q * t),
        "p * q",
        "make p * q one new parameter",
        "before the layer (with torch or jax, which differentiate it)",
        rewrite=lambda: minimize(new * t),
    ),
    nonaffine(
        lambda: subject_to(cp.norm(A @ B @ x) <= t),
        "A @ B",
        "make A @ B one new parameter",
        "constraints[0]",
        rewrite=lambda: subject_to(cp.norm(T @ x) <= t),
    ),
    nonaffine(
        lambda: minimize(p * (q * t)), "p * q * t", "(p * q) * x for p * (q * x)", rewrite=lambda: minimize(new * t)
    ),
    nonaffine(
        lambda: subject_to(A @ x == p * c),
        "Promote(p, (3,)) * c",
        "affine in the parameters (p, c)",
        rewrite=lambda: subject_to(A @ x == d),
    ),
    nonaffine(
        lambda: minimize(cp.norm(A @ (x - c))),
        "A @ (x + -c)",
        "A @ x - b with b = A @ p",
        rewrite=lambda: minimize(cp.norm(A @ x - d)),
    ),
    nonaffine(
        lambda: minimize(p * q / r * t), "p * q", "make p * q / r one new parameter", rewrite=lambda: minimize(new * t)
    ),
    *(
        nonaffine(
            lambda factor=factor: minimize(factor * t),
            text,
            f"make {text} one new parameter",
            "before the layer",
            rewrite=lambda: minimize(new * t),
        )
        for factor, text in (
            (cp.exp(p), "exp(p)"),
            (1 / r, "1.0 / r"),
            (p**2, "PowerApprox(p, 2.0)"),
            (cp.maximum(p, q), "maximum(p, q)"),
            (cp.lambda_max(P), "lambda_max(P)"),
        )
    ),
    nonaffine(
        lambda: minimize(cp.exp(p) * cp.norm(x)), "exp(p)", "nonneg=True", rewrite=lambda: minimize(new * cp.norm(x))
    ),
    nonaffine(lambda: subject_to(t == cp.exp(p)), "exp(p)", "one new parameter", rewrite=lambda: subject_to(t == new)),
    nonaffine(
        lambda: subject_to(cp.norm(x) <= p**2),
        "PowerApprox(p, 2.0)",
        "one new parameter",
        rewrite=lambda: subject_to(cp.norm(x) <= new),
    ),
    nonaffine(
        lambda: minimize(cp.abs(cp.exp(p) - t)),
        "exp(p)",
        "one new parameter",
        rewrite=lambda: minimize(cp.abs(new - t)),
    ),
    nonaffine(lambda: minimize(r**t), "log(r)", "one new parameter", rewrite=lambda: minimize(cp.exp(new * t))),
    nonaffine(
        lambda: minimize(cp.sum(x / r)),
        "x / Promote(r, (3,))",
        "inv_p for 1 / p",
        "multiply",
        rewrite=lambda: minimize(cp.sum(x * inv_r)),
    ),
    nonaffine(lambda: minimize(t / (p * q)), "t / (p * q)", "inv_p for 1 / p", rewrite=lambda: minimize(t * new)),
    nonaffine(
        lambda: minimize(cp.quad_over_lin(x, r)),
        "quad_over_lin(x, r, None, False)",
        "inv_p for 1 / p",
        rewrite=lambda: minimize(inv_r * cp.sum_squares(x)),
    ),
    nonaffine(
        lambda: subject_to(t >= 0, cp.quad_form(x, P) <= 1),
        "QuadForm(x, P)",
        "cp.sum_squares(L @ x)",
        "P = L.T @ L",
        "factor P before the layer",
        "constraints[1]",
        rewrite=lambda: subject_to(t >= 0, cp.sum_squares(A @ x) <= 1),
    ),
    nonaffine(
        lambda: minimize(cp.quad_form(x, P), cp.quad_form(y, P) <= 1),
        "QuadForm(y, P)",
        "cp.sum_squares(L @ x)",
        rewrite=lambda: minimize(cp.quad_form(x, P), cp.sum_squares(A @ y) <= 1),
    ),
    nonaffine(
        lambda: minimize(cp.quad_form(x, cp.psd_wrap(A.T @ A))),
        "A.T @ A",
        "make A.T @ A one new parameter",
        "PSD=True",
        rewrite=lambda: minimize(cp.quad_form(x, P)),
    ),
    nonaffine(
        lambda: minimize(q * cp.quad_form(x, P)),
        "q * QuadForm(x, P)",
        "both factors have parameters (q, P)",
        "each product of parameters one new parameter",
        rewrite=lambda: minimize(cp.quad_form(x, P)),
    ),
    nonaffine(
        lambda: minimize(cp.quad_form(x - c, identity)),
        "QuadForm(x + -c, [[1.00 0.00 0.00] [0.00 1.00 0.00] [0.00 0.00 1.00]])",
        "variable z",
        rewrite=lambda: minimize(cp.quad_form(z, identity), z == x - c),
    ),
    nonaffine(
        lambda: minimize(cp.quad_form(x - c, P)),
        "QuadForm(x + -c, P)",
        "variable z",
        rewrite=lambda: minimize(cp.quad_form(z, P), z == x - c),
    ),
    nonaffine(
        lambda: minimize(d @ bounded), "d @ bounded", "bounds as constraints", rewrite=lambda: minimize(d @ x, x >= c)
    ),
    nonaffine(
        lambda: minimize(cp.quad_form(bounded, P)),
        "QuadForm(bounded, P)",
        "bounds as constraints",
        rewrite=lambda: minimize(cp.quad_form(x, P), x >= c),
    ),
    nonaffine(
        lambda: minimize(cp.Variable(name="v", bounds=[p**2, None])),
        "PowerApprox(p, 2.0)",
        "the bounds of variable v",
        rewrite=lambda: minimize(cp.Variable(name="v", bounds=[new, None])),
    ),
    nonaffine(
        lambda: minimize(cp.norm(cp.convolve(c, x))),
        "convolve(c, x)",
        "T @ x",
        rewrite=lambda: minimize(cp.norm(T @ x)),
    ),
]

MISJUDGED_CASES = [
    nonaffine(
        lambda: minimize(cp.exp(cp.quad_form(x, P))),
        "QuadForm(x, P)",
        "cp.sum_squares(L @ x)",
        rewrite=lambda: minimize(cp.exp(cp.sum_squares(A @ x))),
    ),
    nonaffine(
        lambda: minimize(cp.cumsum(cp.hstack([cp.quad_form(x, P), t]))[1]), "QuadForm(x, P)", "cp.sum_squares(L @ x)"
    ),
    nonaffine(
        lambda: minimize(cp.sum(cp.huber(x, q * r))),
        "q * r",
        "one new parameter",
        rewrite=lambda: minimize(cp.sum(cp.huber(x, new))),
    ),
    nonaffine(
        lambda: minimize(cp.huber(3.0, q) * t), "huber(3.0, q)", "one new parameter", rewrite=lambda: minimize(new * t)
    ),
    case(
        UnsupportedError,
        lambda: minimize(cp.quad_form(cp.cumsum(x), P)),
        "QuadForm(cumsum(x, 0), P)",
        "constraint z == v",
        rewrite=lambda: minimize(cp.quad_form(z, P), z == cp.cumsum(x)),
    ),
    case(
        UnsupportedError,
        lambda: maximize(t - cp.quad_form(cp.abs(x) + 1, identity)),
        "QuadForm(abs(x) + Promote(1.0, (3,)), [[1.00 0.00 0.00] [0.00 1.00 0.00] [0.00 0.00 1.00]])",
        "z >= v if v is convex",
        rewrite=lambda: maximize(t - cp.quad_form(z, identity), z >= cp.abs(x) + 1),
    ),
]

EXPRESSION_CASES = CONVEXITY_CASES + PARAMETER_CASES + MISJUDGED_CASES
CASES = PROBLEM_CASES + EXPRESSION_CASES

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


@pytest.mark.parametrize("fault", CASES, ids=lambda fault: fault.expression)
def test_fault_is_named(fault: Case) -> None:
    with pytest.raises(ProblemError) as caught:
        diagnose(fault.build())
    message = str(caught.value)
    assert caught.type is fault.error, message
    assert "next step: " in message
    for fragment in (fault.expression, *fault.fragments):
        assert fragment in message
    if fault in EXPRESSION_CASES:
        _, expression, *labels = (line.strip() for line in message.splitlines())
        assert expression == f"expression: {fault.expression}"
        assert [label.partition(": ")[0] for label in labels] == ["place", "reason", "next step"]


@pytest.mark.parametrize("fault", PARAMETER_CASES + MISJUDGED_CASES, ids=lambda fault: fault.expression)
def test_parameters_are_at_fault_only_in_convex_problems(fault: Case) -> None:
    assert fault.build().is_dcp()


@pytest.mark.parametrize("fault", MISJUDGED_CASES, ids=lambda fault: fault.expression)
def test_misjudged_fault_is_real(fault: Case) -> None:
    """CVXPY calls these problems DPP, yet it fails on them; once it does not, the check may go."""
    problem = fault.build()
    assert problem.is_dpp("dcp", quad_form_dpp="qp")
    with pytest.raises((ValueError, AssertionError, NotImplementedError)):
        problem.get_problem_data(cp.CLARABEL)


@pytest.mark.parametrize(
    "rewrite",
    [pytest.param(fault.rewrite, id=fault.expression) for fault in CASES if fault.rewrite is not None]
    + [pytest.param(build, id=name) for name, build in FINE.items()],
)
def test_fine_problem_compiles_without_values(rewrite: Callable[[], cp.Problem]) -> None:
    problem = rewrite()
    diagnose(problem)
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
