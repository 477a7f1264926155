"""The contract of the iterations: solutions, batches, precision, limits, derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from implicit.front_ends import FrontEnd, numbers, statuses
from implicit.iteration_cases import (
    SCALES,
    A,
    B,
    N,
    bowl,
    cases,
    contraction,
    expected_derivative,
    expected_solution,
    slope_of_F,
    start,
)

from optlayers.errors import OptionError, Status
from optlayers.implicit import LBFGS, Newton

pytestmark = pytest.mark.usefixtures("unthreaded")


@pytest.mark.usefixtures("without_checks")
@cases
def test_a_batch_is_solved_as_each_of_its_elements_alone(front: FrontEnd, problem: Any, solver: Any) -> None:
    z, info = problem(front, front.array(SCALES), start(front, 4), 1, solver=solver, return_info=True)
    tolerance = solver.tolerance_at(np.finfo(np.float64).eps)
    # Line searches decide by phi, which rounds differently alone; its second derivative is 1 at least.
    closeness = 1e-12 if problem is contraction else 2 * tolerance
    for element, scale in enumerate(SCALES):
        alone, alone_info = problem(
            front, front.array(SCALES[element]), front.array(B), 0, solver=solver, return_info=True
        )
        np.testing.assert_allclose(numbers(z)[element], numbers(alone), rtol=0, atol=closeness)
        assert problem is bowl or int(info.iterations[element]) == int(alone_info.iterations)
        # The smallest singular value of I - g' is 0.05 at least.
        np.testing.assert_allclose(numbers(z)[element], expected_solution(problem, scale), atol=tolerance / 0.05)
    assert statuses(info) == [Status.SOLVED] * 4
    assert (numbers(info.residual) <= tolerance).all()
    assert info.iterations[0] == 0


@pytest.mark.usefixtures("without_checks")
@cases
def test_empty_batches_and_several_batch_axes(front: FrontEnd, problem: Any, solver: Any) -> None:
    empty = problem(front, front.array(np.zeros(0)), front.array(np.zeros((0, N))), 1, solver=solver)
    assert tuple(empty.shape) == (0, N)
    z = problem(front, front.array(SCALES), start(front, 4), 1, solver=solver)
    square = problem(
        front, front.array(SCALES.reshape(2, 2)), front.array(np.broadcast_to(B, (2, 2, N)).copy()), 2, solver=solver
    )
    tolerance = solver.tolerance_at(np.finfo(np.float64).eps)
    closeness = 1e-12 if problem is contraction else 2 * tolerance
    np.testing.assert_allclose(numbers(square).reshape(4, N), numbers(z), rtol=0, atol=closeness)


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
    assert statuses(info) == [Status.SOLVED] * 4


@cases
def test_an_iteration_limit_is_reported_and_hits_only_the_hard(front: FrontEnd, problem: Any, solver: Any) -> None:
    short = type(solver)(**{**vars(solver), "max_iterations": 1, "tolerance": 1e-14})
    z, info = problem(front, front.array(SCALES), start(front, 4), 1, solver=short, return_info=True, on_failure="nan")
    assert statuses(info) == [Status.SOLVED] + [Status.ITERATION_LIMIT] * 3
    assert np.isnan(numbers(z)).all(axis=-1).tolist() == [False, True, True, True]


@pytest.mark.usefixtures("without_checks")
@cases
@pytest.mark.parametrize("semantics", ["implicit", "unrolled", "one_step"])
def test_derivatives(front: FrontEnd, problem: Any, solver: Any, semantics: str) -> None:
    weights = np.array([1.0, -2.0, 0.5, 3.0])
    exact = type(solver)(**{**vars(solver), "tolerance": 1e-12})

    def loss(scale: Any) -> Any:
        z = problem(front, scale, start(front, 4), 1, solver=exact, differentiate=semantics)
        return (z @ front.array(weights)).sum()

    if semantics == "one_step" and (isinstance(solver, LBFGS) or vars(solver).get("step_length", 1.0) is None):
        with pytest.raises(OptionError, match="one_step"):
            loss(front.array(SCALES))
        return
    derivative = numbers(front.grad(loss)(front.array(SCALES)))
    assert np.isfinite(derivative).all()
    expected = np.array([weights @ expected_derivative(problem, scale) for scale in SCALES])
    if semantics == "one_step" and not isinstance(solver, Newton):
        length = next(vars(solver)[name] for name in ("damping", "scale", "step_length") if name in vars(solver))
        expected = np.array(
            [-length * weights @ slope_of_F(problem, scale, expected_solution(problem, scale)) for scale in SCALES]
        )
    if semantics == "unrolled" and vars(solver).get("depth") == 1:
        return  # with one pair the derivatives of the iterates do not converge
    moved = slice(1, None) if semantics == "unrolled" else slice(None)  # no iteration of the first element ran
    tolerance = 1e-4 if semantics == "unrolled" and not isinstance(solver, Newton) else 1e-6
    np.testing.assert_allclose(derivative[moved], expected[moved], rtol=tolerance, atol=tolerance)
    assert semantics != "unrolled" or derivative[0] == 0
