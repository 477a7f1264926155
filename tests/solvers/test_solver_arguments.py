"""Choosing a solver and its options: translated or refused with a reason, never ignored."""

from __future__ import annotations

import dataclasses
from typing import Any

import cvxpy as cp
import numpy as np
import osqp
import pytest

import optlayers
import optlayers.torch
from optlayers import OSQP, SCS, Clarabel, construction
from optlayers.backward import LSMR, BatchedDense
from optlayers.errors import AccuracyWarning, OptionError
from optlayers.kkt import Refinement
from optlayers.parallel import available_cores
from optlayers.solvers import AbstractSolver


def compile_with(solver: Any = None, solver_args: Any = None) -> optlayers.CompiledProblem:
    x, a = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [cp.sum(x) == 1, x >= 0])
    return optlayers.compile(problem, [a], [x], solver=solver, solver_args=solver_args)


@pytest.mark.parametrize("name", [cp.OSQP, cp.SCS, cp.CLARABEL, "osqp", "Clarabel"])
def test_solvers_by_name(name: str) -> None:
    compiled = compile_with(name)
    assert compiled.solver.name == name.upper()
    assert compiled.solve(np.ones(3)).reports[0].detail.upper().startswith(name.upper())


def test_the_default_goes_by_structure_and_says_why() -> None:
    compiled = compile_with()
    assert compiled.solver == Clarabel()
    assert compiled.solver_reason.startswith("inequalities")
    x, a = cp.Variable(3), cp.Parameter(3)
    linear = optlayers.compile(cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [cp.sum(x) == 1]), [a], [x])
    assert linear.solver_reason.startswith("no inequalities")
    solution = linear.solve(np.ones(3), solver_args={"tol_gap_abs": 1e-10})
    assert solution.reports[0].solver_iterations == 0
    assert "without a solver" in solution.reports[0].detail
    np.testing.assert_allclose(solution.outputs[0], np.full(3, 1 / 3), atol=1e-14)


def test_solvers_as_objects() -> None:
    solver = OSQP(accuracy=1e-7, max_iterations=50, options={"rho": 0.2})
    assert compile_with(solver).solver == solver
    assert hash(solver) == hash(OSQP(accuracy=1e-7, max_iterations=50, options={"rho": 0.2}))


@pytest.mark.parametrize("solver", ["ECOS", "GUROBI"])
def test_unknown_solvers(solver: str) -> None:
    with pytest.raises(OptionError, match="OSQP, SCS, CLARABEL"):
        compile_with(solver)


@pytest.mark.parametrize(
    ("solver", "arguments", "expected"),
    [
        ("SCS", {"eps": 1e-8}, SCS(accuracy=1e-8)),
        ("OSQP", {"eps": 1e-8, "max_iters": 77}, OSQP(accuracy=1e-8, max_iterations=77)),
        ("SCS", {"acceleration_lookback": 5}, SCS(options={"acceleration_lookback": 5})),
        ("SCS", {"solve_method": "SCS"}, SCS()),
        (None, {"solve_method": "SCS", "eps": 1e-6}, SCS(accuracy=1e-6)),
        (
            None,
            {"eps": 1e-8, "max_iters": 10000, "acceleration_lookback": 0},
            SCS(1e-8, 10000, options={"acceleration_lookback": 0}),
        ),
        ("CLARABEL", {"tol_gap_abs": 1e-10}, Clarabel(options={"tol_gap_abs": 1e-10})),
        ("OSQP", {"eps_abs": 1e-9, "max_iter": 10}, OSQP(options={"eps_abs": 1e-9, "max_iter": 10})),
        ("OSQP", {"mode": "lsqr"}, OSQP()),
        ("OSQP", {"verbose": True}, OSQP(verbose=True)),
        ("OSQP", {"eps": np.float64(1e-6), "max_iters": np.int64(100)}, OSQP(1e-6, 100)),
    ],
)
def test_arguments_are_translated(solver: str | None, arguments: dict[str, Any], expected: AbstractSolver) -> None:
    assert compile_with(solver, arguments).solver == expected


def test_threads() -> None:
    call = compile_with("OSQP", {"n_jobs_forward": 2, "n_jobs_backward": -1}).solution_map.call
    assert (call.forward_threads, call.backward_threads) == (2, available_cores())


@pytest.mark.parametrize(
    ("solver", "arguments", "message"),
    [
        ("OSQP", {"eps_ab": 1e-3}, "OSQP has no option 'eps_ab'. Did you mean eps_abs"),
        ("CLARABEL", {"acceleration_lookback": 5}, "acceleration_lookback is an option of SCS"),
        ("CLARABEL", {"solve_method": "ECOS"}, "'ECOS' is not available"),
        ("CLARABEL", {"mode": "lpgd"}, "mode='lpgd' is not available"),
        ("OSQP", {"n_jobs_forward": 0}, "n_jobs_forward must be at least 1"),
        ("OSQP", {"eps": "small"}, "eps must be a number"),
        ("OSQP", {"eps": -1.0}, "accuracy must be a positive number"),
        ("OSQP", {"max_iters": 1.5}, "max_iters must be a whole number"),
        ("OSQP", {"max_iters": np.inf}, "max_iters must be a whole number"),
        ("OSQP", {"max_iters": np.nan}, "max_iters must be a whole number"),
        ("CLARABEL", {"polishing": True}, "polishing is an option of OSQP; the solver of this layer is CLARABEL"),
        ("SCS", {"use_quad_obj": False}, "SCS has no option 'use_quad_obj'"),
        ("CLARABEL", {"tol_gap_abs": "a"}, "CLARABEL does not take the options"),
        ("OSQP", {"rho": -1.0}, "OSQP does not take the options"),
        ("SCS", {"linear_solver": 1}, "SCS does not take the options"),
    ],
)
def test_arguments_are_refused(solver: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        compile_with(solver, arguments)


@pytest.mark.parametrize(("mode", "method"), [("dense", BatchedDense), ("lsqr", LSMR), ("lsmr", LSMR)])
def test_a_mode_chooses_the_backward_method(mode: str, method: type) -> None:
    compiled = compile_with("CLARABEL", {"mode": mode})
    assert isinstance(compiled.backward, method)
    value = np.array([1.0, 1.1, 1.3])
    plain = compile_with("CLARABEL")
    expected = plain.vjp(plain.solve(value), np.array([1.0, -2.0, 0.5]))
    solution = compiled.solve(value)
    found = compiled.vjp(solution, np.array([1.0, -2.0, 0.5]))
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-10)
    of_one_call = construction.with_arguments(plain.solution_map, {"mode": mode})
    assert isinstance(of_one_call.backward, method)


@pytest.mark.parametrize(
    ("solver", "arguments"),
    [
        (OSQP(), {"max_iter": 1, "scaling": 0, "alpha": 1.5, "rho": 0.3, "polishing": False}),
        (SCS(), {"max_iters": 1, "normalize": False, "alpha": 1.4, "scale": 0.2}),
        (Clarabel(), {"max_iter": 1, "tol_feas": 1e-6, "equilibrate_enable": False}),
    ],
    ids=["OSQP", "SCS", "CLARABEL"],
)
def test_options_reach_the_solver(solver: AbstractSolver, arguments: dict[str, Any]) -> None:
    compiled = compile_with(solver)
    report = compiled.solve(np.array([1.0, 2.0, 3.0]), solver_args=arguments).reports[0]
    assert report.solver_iterations == 1
    assert compiled.solve(np.array([1.0, 2.0, 3.0])).reports[0].solver_iterations > 1, "a call must not leave a trace"


def test_every_known_option_exists() -> None:
    """The lists of option names agree with what the solvers take."""
    settings = {name for name in dir(osqp.OSQP().ext.OSQPSettings()) if not name.startswith("_")}
    assert OSQP.option_names() <= settings
    compiled = compile_with("SCS")
    flags, names = {"normalize", "adaptive_scale"}, {"write_data_filename", "log_csv_filename"}
    for option in SCS.option_names() - {"linear_solver"}:
        value: Any = True if option in flags else "" if option in names else 1
        compiled.solve(np.ones(3), solver_args={option: value})


def test_inaccurate_points_are_returned_with_a_warning() -> None:
    compiled = compile_with("OSQP", {"eps_abs": 1e-4, "eps_rel": 1e-4, "check_termination": 1})
    solution_map = compiled.solution_map
    coarse = dataclasses.replace(solution_map, refinement=Refinement(newton_limit=0, proximal_limit=0, polish_limit=0))
    with pytest.warns(AccuracyWarning, match=r"2 of 2 solutions miss.*batch index"):
        coarse.forward(np.array([[1.0, 2.0, 3.0], [0.0, 2.0, 3.0]]))
