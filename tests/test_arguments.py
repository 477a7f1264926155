"""Bad input: a clear error before any solve, by every front-end, that names the parameter and the batch index."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import optlayers
import optlayers.jax
import optlayers.torch
from optlayers.errors import (
    AccuracyWarning,
    ArgumentError,
    ElementFailure,
    MissingValueError,
    ProblemError,
    SolveError,
    Status,
)
from optlayers.program import Parameter
from optlayers.torch.arrays import check_tensors

FRONT_ENDS = ("numpy", "torch", "jax")
Call = Callable[..., tuple[Any, ...]]

front_ends = pytest.mark.parametrize("front_end", FRONT_ENDS)


def make(front_end: str, problem: cp.Problem, parameters: list[cp.Parameter], variables: list[Any]) -> Call:
    """The layer as a function of NumPy arrays (other arguments pass as they are)."""
    if front_end == "numpy":
        return lambda *a, **k: optlayers.compile(problem, parameters, variables).solve(*a, **k).outputs
    layer: Any
    if front_end == "torch":
        layer = optlayers.torch.CvxpyLayer(problem, parameters, variables)
        convert: Any = torch.as_tensor
    else:
        layer = optlayers.jax.CvxpyLayer(problem, parameters, variables)
        convert = jnp.asarray

    def call(*arguments: Any, **named: Any) -> tuple[Any, ...]:
        return layer(
            *(convert(a) if isinstance(a, np.ndarray) else a for a in arguments),
            **{name: convert(a) if isinstance(a, np.ndarray) else a for name, a in named.items()},
        )

    return call


def regression(front_end: str) -> Call:
    x, A, b = cp.Variable(2), cp.Parameter((3, 2), name="A"), cp.Parameter(3, name="b")
    return make(front_end, cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [x >= 0]), [A, b], [x])


A_VALUE, B_VALUE = np.arange(6.0).reshape(3, 2) + np.eye(3, 2), np.ones(3)


@front_ends
def test_by_name_and_by_position(front_end: str) -> None:
    layer = regression(front_end)
    (by_position,) = layer(A_VALUE, B_VALUE)
    (by_name,) = layer(b=B_VALUE, A=A_VALUE)
    np.testing.assert_array_equal(np.asarray(by_name), np.asarray(by_position))


@front_ends
@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((A_VALUE,), {}, "missing: b"),
        ((A_VALUE, B_VALUE, B_VALUE), {}, "3 arguments were given for 2 parameters: A, b"),
        ((A_VALUE, B_VALUE), {"b": B_VALUE}, "'b' was given twice"),
        ((A_VALUE,), {"c": B_VALUE}, "no parameter 'c'; the parameters are A, b"),
        ((A_VALUE.T, B_VALUE), {}, r"'A' has shape \(3, 2\).*the argument has shape \(2, 3\)"),
        ((A_VALUE, np.ones((2, 4))), {}, r"'b' has shape \(3,\)"),
        ((np.ones((2, 3, 2)), np.ones((4, 3))), {}, r"batch axes \(4,\) of parameter 'b' do not broadcast"),
        ((A_VALUE, B_VALUE * np.nan), {}, "'b' must be finite"),
        ((A_VALUE, np.array([[1.0, 1, 1], [1, np.inf, 1]])), {}, r"'b' must be finite.*batch index \(1,\)"),
        ((A_VALUE, B_VALUE.astype(complex)), {}, "'b'.*complex128"),
    ],
)
def test_bad_arguments(front_end: str, arguments: Any, named: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        regression(front_end)(*arguments, **named)


def test_torch_takes_floating_point_tensors_on_one_device() -> None:
    layer = regression("torch")
    with pytest.raises(ArgumentError, match=r"'b' must be a torch.Tensor, not list"):
        check_tensors([Parameter("b", (3,), ())], [[1.0, 1.0, 1.0]])
    with pytest.raises(ArgumentError, match=r"'b' has dtype torch.int64"):
        layer(A_VALUE, np.ones(3, dtype=np.int64))
    with pytest.raises(ArgumentError, match=r"'b' is on meta, but 'A' is on cpu"):
        layer(torch.as_tensor(A_VALUE), torch.ones(3, device="meta"))
    with pytest.raises(ArgumentError, match=r"'A' must be a dense tensor; its layout is torch.sparse_coo.*to_dense"):
        layer(torch.as_tensor(A_VALUE).to_sparse(), B_VALUE)


def test_jax_takes_floating_point_arrays() -> None:
    with pytest.raises(ArgumentError, match=r"'b' has dtype int64"):
        regression("jax")(A_VALUE, np.ones(3, dtype=np.int64))


@pytest.mark.parametrize("argument", [None, "b", [1.0, [2.0, 3.0]], cp.Parameter(3), np.array([None] * 3)])
@pytest.mark.parametrize("under", [lambda call: call(), lambda call: jax.jit(call)()], ids=["plain", "jit"])
def test_jax_names_the_parameter_of_what_is_no_array(under: Any, argument: Any) -> None:
    layer = regression("jax")
    with pytest.raises(ArgumentError, match="'b' must be an array of numbers, not "):
        under(lambda: layer(A_VALUE, argument if not isinstance(argument, np.ndarray) else list(argument)))


def test_numpy_names_the_parameter_of_what_it_cannot_read() -> None:
    with pytest.raises(ArgumentError, match=r"'b' must be an array of numbers; .*Tensor that NumPy cannot read"):
        regression("numpy")(A_VALUE, torch.ones(3, requires_grad=True))


@front_ends
def test_a_wrong_shape_is_told_what_is_right(front_end: str) -> None:
    x, a = cp.Variable(), cp.Parameter(name="a", nonneg=True)
    scalar = make(front_end, cp.Problem(cp.Minimize(cp.square(x - a))), [a], [x])
    assert np.shape(scalar(np.ones(2))[0]) == (2,)
    with pytest.raises(ArgumentError, match=r"so \(3, 2\) or, with batch axes in front, \(\.\.\., 3, 2\) was expected"):
        regression(front_end)(A_VALUE.T, B_VALUE)


ATTRIBUTES: list[tuple[dict[str, Any], np.ndarray, np.ndarray, str]] = [
    ({"nonneg": True}, np.zeros((2, 2)), np.array([[1.0, -1e-9], [0, 0]]), "nonnegative"),
    ({"nonpos": True}, np.zeros((2, 2)), np.array([[1.0, 0], [0, 0]]), "nonpositive"),
    ({"pos": True}, np.ones((2, 2)), np.array([[1.0, 0], [1, 1]]), "positive"),
    ({"neg": True}, -np.ones((2, 2)), np.array([[-1.0, 0], [-1, -1]]), "negative"),
    ({"symmetric": True}, np.array([[1.0, 2], [2, 1]]), np.array([[1.0, 2], [2.1, 1]]), "symmetric"),
    ({"PSD": True}, np.array([[1.0, 1], [1, 1]]), np.array([[1.0, 2], [2, 1]]), "positive semidefinite"),
    ({"NSD": True}, -np.array([[1.0, 1], [1, 1]]), np.array([[1.0, 0], [0, -1]]), "negative semidefinite"),
    ({"diag": True}, np.diag([1.0, 2]), np.array([[1.0, 0.5], [0, 1]]), "zero outside"),
    ({"sparsity": [(0, 1), (1, 1)]}, np.array([[0.0, 1], [0, 2]]), np.array([[0.5, 1], [0, 2]]), "zero outside"),
    ({"bounds": [-1, 1]}, np.ones((2, 2)), np.array([[1.1, 0], [0, 0]]), "within its bounds"),
]


@pytest.mark.parametrize(("attributes", "good", "bad", "expectation"), ATTRIBUTES, ids=lambda value: str(value)[:20])
def test_values_must_keep_what_the_parameter_declares(
    attributes: dict[str, Any], good: np.ndarray, bad: np.ndarray, expectation: str
) -> None:
    x, W = cp.Variable((2, 2)), cp.Parameter((2, 2), name="W", **attributes)
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(x - W))), [W], [x])
    np.testing.assert_allclose(compiled.solve(good).outputs[0], good, atol=1e-12)
    with pytest.raises(ArgumentError, match=rf"'W' must be {expectation}.*batch index \(2,\)"):
        compiled.solve(np.stack([good, good, bad]))


def test_a_parameter_that_is_not_passed_keeps_its_value() -> None:
    x, a, shift = cp.Variable(2), cp.Parameter(2), cp.Parameter(2, name="shift")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a - shift)))
    with pytest.raises(MissingValueError, match=r"'shift'.*has no value"):
        optlayers.compile(problem, [a], [x])
    shift.value = np.array([1.0, -1.0])
    compiled = optlayers.compile(problem, [a], [x])
    np.testing.assert_allclose(compiled.solve(np.zeros(2)).outputs[0], [1.0, -1.0], atol=1e-12)


def test_a_fixed_parameter_counts_as_a_constant_for_the_rules_of_dpp() -> None:
    x, p, weight = cp.Variable(2), cp.Parameter(2), cp.Parameter(nonneg=True)
    weight.value = 2.0
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) + weight * (p @ x)))  # a product of parameters if both vary
    (x_star,) = optlayers.compile(problem, [p], [x]).solve(np.array([1.0, 3.0])).outputs
    np.testing.assert_allclose(x_star, [-1.0, -3.0], atol=1e-12)


def test_a_fixed_parameter_in_a_bound() -> None:
    limit, a = cp.Parameter(2, value=np.ones(2)), cp.Parameter(2)
    x = cp.Variable(2, bounds=[None, limit])
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(x - a))), [a], [x])
    np.testing.assert_allclose(compiled.solve(np.array([0.5, 2.0])).outputs[0], [0.5, 1.0], atol=1e-12)


def test_parameters_and_variables_must_belong_to_the_problem() -> None:
    x, y, a, other = cp.Variable(2), cp.Variable(2, name="y"), cp.Parameter(2), cp.Parameter(2, name="other")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [x >= 0])
    with pytest.raises(ProblemError, match="'other' is not a parameter of the problem"):
        optlayers.compile(problem, [a, other], [x])
    with pytest.raises(ProblemError, match="listed twice"):
        optlayers.compile(problem, [a, a], [x])
    with pytest.raises(ProblemError, match="'y' is not a variable of the problem"):
        optlayers.compile(problem, [a], [y])
    with pytest.raises(ProblemError, match="not one of the problem's constraints"):
        optlayers.compile(problem, [a], [y >= 0])


def test_two_parameters_of_one_name_go_by_position() -> None:
    x, a, b = cp.Variable(2), cp.Parameter(2, name="p"), cp.Parameter(2, name="p")
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(x - a - 2 * b))), [a, b], [x])
    np.testing.assert_allclose(compiled.solve(np.ones(2), np.ones(2)).outputs[0], [3.0, 3.0])
    with pytest.raises(ArgumentError, match="several parameters are called 'p'"):
        compiled.solve(np.ones(2), p=np.ones(2))


@front_ends
def test_a_layer_without_parameters(front_end: str) -> None:
    x = cp.Variable(2)
    (x_star,) = make(front_end, cp.Problem(cp.Minimize(cp.sum_squares(x - 3))), [], [x])()
    np.testing.assert_allclose(np.asarray(x_star), [3.0, 3.0], atol=1e-6)


def test_what_is_no_array_of_numbers_is_refused() -> None:
    x, a = cp.Variable(3), cp.Parameter(3, name="a")
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(x - a))), [a], [x])
    with pytest.raises(ArgumentError, match="'a' must be an array of numbers, with rows of one length"):
        compiled.solve([[1.0, 2.0], [1.0]])
    with pytest.raises(ArgumentError, match="'a' has masked entries"):
        compiled.solve(np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False]))
    solution = compiled.solve(np.ones((2, 3)))
    with pytest.raises(ArgumentError, match=r"tangent of parameter 'a' do not broadcast with the batch axes \(2,\)"):
        compiled.jvp(solution, np.ones((5, 3)))


WRONG_TYPES = """
import cvxpy as cp, optlayers
x, a = cp.Variable(3, name="v"), cp.Parameter(3, name="a")
problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a)))
for call, message in [
    (lambda: optlayers.compile(problem, a, [x]), "parameters must be a list"),
    (lambda: optlayers.compile(problem, [a], x), "variables must be a list, as [v]; it is Variable"),
    (lambda: optlayers.compile(problem, {a}, [x]), "parameters must be a list, in the order of the call; it is {"),
    (lambda: optlayers.compile(problem, [a], [x], solver_args={"epss": 1e-6}), "'epss'. Did you mean eps?"),
    (lambda: optlayers.compile(problem, [a], [x], solver_args=[1]), "solver_args must be a dictionary"),
    (lambda: optlayers.SCS(accuracy="a"), "accuracy must be a positive number"),
    (lambda: optlayers.SCS(max_iterations=None), "max_iterations must be a whole number"),
    (lambda: optlayers.SCS(max_iterations=1.5), "max_iterations must be a whole number"),
]:
    try:
        call()
    except optlayers.errors.OptLayersError as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)
"""


def test_wrong_types_get_a_plain_sentence() -> None:
    # In a process of its own: here annotations are checked, and refuse them first.
    subprocess.run([sys.executable, "-c", WRONG_TYPES], check=True, timeout=120)


def test_an_empty_variable_is_an_empty_output() -> None:
    x, empty, a = cp.Variable(3), cp.Variable((0,)), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a) + cp.sum(empty)))
    outputs = optlayers.compile(problem, [a], [empty, x]).solve(np.ones((2, 3))).outputs
    assert outputs[0].shape == (2, 0)
    np.testing.assert_allclose(outputs[1], np.ones((2, 3)), rtol=1e-12)


def test_the_iteration_limit_says_what_to_change() -> None:
    x, a = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.norm1(x - a) + cp.norm(x)), [cp.sum(x) == 1, x >= 0])
    failure = ElementFailure((), Status.ITERATION_LIMIT, "SCS: stopped")
    assert optlayers.compile(problem, [a], [x]).solve(np.ones(3)).reports[0].status is Status.SOLVED
    assert "solver_args={'max_iters': ...}" in str(SolveError([failure]))


def test_a_matrix_that_is_semidefinite_up_to_float32_only_is_warned_of() -> None:
    x, W = cp.Variable(2), cp.Parameter((2, 2), name="W", PSD=True)
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, W)), [x == 1])
    compiled = optlayers.compile(problem, [W], [x])
    compiled.solve(np.stack([np.eye(2), np.diag([1e6, 0.0]), np.ones((2, 2))]))  # singular: no warning
    with pytest.warns(AccuracyWarning, match=r"'W' is positive semidefinite only up to.*batch index \(1,\)"):
        compiled.solve(np.stack([np.eye(2), np.diag([1e6, -0.9])]))


def test_the_slope_of_a_parameter_without_logarithm_does_not_overflow() -> None:
    x, a = cp.Variable(2), cp.Parameter(2)
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(x - a))), [a], [x])
    solution = compiled.solve(np.full(2, -1000.0))
    np.testing.assert_allclose(compiled.vjp(solution, np.ones(2))[0], np.ones(2), rtol=1e-12)


def test_a_square_of_parameters_alone_in_the_objective() -> None:
    x, u = cp.Variable(2), cp.Parameter()
    compiled = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(x - u) + cp.square(u))), [u], [x])
    np.testing.assert_allclose(compiled.solve(np.array(2.0)).outputs[0], np.full(2, 2.0), rtol=1e-12)
