"""A layer that was saved and loaded is the same layer: bit for bit in its results, and in its settings."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from conic_problems import FAMILIES as CONIC_FAMILIES
from oracles import random_directions
from problems import FAMILIES, Family, Instance, batch_values, family

import optlayers
import optlayers.jax
import optlayers.torch
from optlayers import LSMR, OSQP, SCS, BatchedDense, Clarabel, CompiledProblem, Homogeneous, MinimumNorm, Smoothed
from optlayers.backward import METHODS, AbstractBackward, SparseDirect
from optlayers.cones import AbstractCone, Dual, Exponential, Power, Product, SecondOrder
from optlayers.errors import StorageError
from optlayers.kkt import Refinement
from optlayers.program.parameter import AbstractRule
from optlayers.solution_map import ConeSolutionMap
from optlayers.solvers import SOLVERS, AbstractSolver
from optlayers.storage.classes import CLASSES, StoredLayer
from optlayers.storage.encoding import Decoder, Encoder

families = pytest.mark.parametrize("each", [*FAMILIES, *CONIC_FAMILIES], ids=lambda each: each.name)

SETTINGS: tuple[AbstractSolver, ...] = (
    OSQP(accuracy=1e-6, max_iterations=9_000, certificate_accuracy=1e-7, options={"rho": 0.2, "scaling": 5}),
    SCS(accuracy=np.float64(1e-6), options={"acceleration_lookback": 5, "normalize": True, "time_limit_secs": 60.0}),
    Clarabel(max_iterations=150, options={"time_limit": np.inf, "direct_solve_method": "qdldl", "tol_feas": 1e-9}),
)

BACKWARD: tuple[AbstractBackward, ...] = (
    SparseDirect(max_iterations=15),
    BatchedDense(tolerance=1e-11),
    LSMR(tolerance=1e-11, max_iterations=9_000, preconditioner="none"),
    MinimumNorm(tolerance=1e-12, max_iterations=3),
    Smoothed(mu=0.02),
    Homogeneous(tolerance=1e-11),
)


def built(each: Family) -> Instance:
    return each.build(np.random.default_rng(0), each.size)


def compiled(instance: Instance, **options: object) -> CompiledProblem:
    return optlayers.compile(instance.problem, instance.parameters, instance.outputs, gp=instance.gp, **options)


def reloaded(problem: CompiledProblem, folder: Path) -> CompiledProblem:
    problem.save(folder / "layer")
    return optlayers.load(folder / "layer")


def same(first: CompiledProblem, second: CompiledProblem, instance: Instance, values: tuple[np.ndarray, ...]) -> None:
    """Outputs and both derivatives are equal bit for bit."""
    direction = random_directions(dataclasses.replace(instance, values=values), np.random.default_rng(1))
    results = []
    for each in (first, second):
        solution = each.solve(*values)
        cotangents = [np.random.default_rng(2).standard_normal(output.shape) for output in solution.outputs]
        results.append([*solution.outputs, *each.jvp(solution, *direction), *each.vjp(solution, *cotangents)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("without_checks")
@families
def test_every_family(each: Family, tmp_path: Path) -> None:
    instance = built(each)
    original = compiled(instance)
    loaded = reloaded(original, tmp_path)
    same(original, loaded, instance, instance.values)
    assert loaded.solver_reason == original.solver_reason
    assert loaded.solution_map.call == original.solution_map.call
    assert loaded.solution_map.parametric.structure.cones == original.solution_map.parametric.structure.cones
    signatures = [layer.solution_map.parametric.signature for layer in (original, loaded)]
    for one, other in zip(*(signature.parameters for signature in signatures), strict=True):
        assert (one.name, one.shape, one.logarithmic) == (other.name, other.shape, other.logarithmic)
        assert [rule.expectation for rule in one.rules] == [rule.expectation for rule in other.rules]
    assert signatures[0].outputs == signatures[1].outputs


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("solver", SETTINGS, ids=lambda solver: solver.name)
@pytest.mark.parametrize("backward", BACKWARD, ids=lambda backward: backward.name)
def test_every_solver_and_backward_method(solver: AbstractSolver, backward: AbstractBackward, tmp_path: Path) -> None:
    instance = built(family("portfolio"))
    arguments = {"n_jobs_forward": 2, "n_jobs_backward": 1}
    original = compiled(instance, solver=solver, solver_args=arguments, backward=backward)
    loaded = reloaded(original, tmp_path)
    assert loaded.solver == solver
    assert type(loaded.solver) is type(solver)
    assert loaded.backward == backward
    assert loaded.solution_map.call == original.solution_map.call
    same(original, loaded, instance, instance.values)


def test_every_class_of_the_package_can_be_saved() -> None:
    """A new cone, solver, backward method or rule belongs among the classes of a file."""
    for base in (AbstractCone, AbstractSolver, AbstractBackward, AbstractRule):
        own = {f"{each.__module__}.{each.__name__}" for each in base.__subclasses__()}
        known = {f"{each.__module__}.{each.__name__}" for each in CLASSES.values()}
        assert {name for name in own if name.startswith("optlayers.")} <= known
    assert {type(solver) for solver in SETTINGS} == set(SOLVERS.values())
    assert {type(method) for method in BACKWARD} == {*METHODS.values(), Homogeneous}


def test_every_field_of_a_solution_map_is_stored() -> None:
    stored = {field.name for field in dataclasses.fields(StoredLayer)} - {"solver_reason"}
    assert stored == {field.name for field in dataclasses.fields(ConeSolutionMap)} - {"system", "cache"}


def test_refinement_is_kept(tmp_path: Path) -> None:
    instance = built(family("lasso"))
    original = compiled(instance)
    refinement = Refinement(tolerance=1e-10, newton_limit=7)
    changed = dataclasses.replace(
        original, solution_map=dataclasses.replace(original.solution_map, refinement=refinement)
    )
    assert reloaded(changed, tmp_path).solution_map.refinement == refinement


def test_batches(tmp_path: Path) -> None:
    instance = built(family("maximization"))
    original = compiled(instance)
    same(original, reloaded(original, tmp_path), instance, batch_values(instance, np.random.default_rng(3), 4))


def test_what_a_value_must_keep_is_kept(tmp_path: Path) -> None:
    """Bounds, pattern and sign of parameters, with the name in the message."""
    x = cp.Variable(2)
    low = cp.Parameter(2, bounds=[-1, np.array([1.0, np.inf])], name="low")
    D = cp.Parameter((2, 2), diag=True, name="D")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(D @ x)), [x >= low])
    loaded = reloaded(optlayers.compile(problem, [low, D], [x]), tmp_path)
    loaded.solve(low=np.array([0.5, 1e9]), D=np.eye(2))
    with pytest.raises(optlayers.errors.ArgumentError, match="'low' must be within its bounds"):
        loaded.solve(np.array([2.0, 0.0]), np.eye(2))
    with pytest.raises(optlayers.errors.ArgumentError, match="'D' must be zero outside"):
        loaded.solve(np.zeros(2), np.ones((2, 2)))


def test_a_file_of_any_front_end_loads_in_any_other(tmp_path: Path) -> None:
    instance = built(family("nonnegative_least_squares"))
    arguments = (instance.problem, instance.parameters, instance.outputs)
    layers = {
        "numpy": optlayers.compile(*arguments),
        "torch": optlayers.torch.CvxpyLayer(*arguments),
        "jax": optlayers.jax.CvxpyLayer(*arguments),
    }
    for name, layer in layers.items():
        layer.save(tmp_path / name)
    assert len({(tmp_path / name).read_bytes() for name in layers}) == 1

    weights = np.random.default_rng(0).standard_normal(instance.outputs[0].shape)
    solution = layers["numpy"].solve(*instance.values)
    expected = layers["numpy"].vjp(solution, weights, *(np.zeros_like(part) for part in solution.outputs[1:]))
    for name in layers:
        in_torch = optlayers.torch.load(tmp_path / name)
        assert in_torch.state_dict() == {}
        tensors = [torch.tensor(value, requires_grad=True) for value in instance.values]
        (in_torch(*tensors)[0] * torch.tensor(weights)).sum().backward()
        in_jax = optlayers.jax.load(str(tmp_path / name))
        gradients = jax.grad(lambda *v, layer=in_jax: jnp.sum(layer(*v)[0] * weights), argnums=range(len(expected)))(
            *instance.values
        )
        for tensor, gradient, part in zip(tensors, gradients, expected, strict=True):
            np.testing.assert_array_equal(tensor.grad.numpy(), part)
            np.testing.assert_array_equal(gradient, part)
        assert in_torch.solver_reason == in_jax.solver_reason == layers["numpy"].solver_reason


def test_equal_layers_make_equal_files_and_saving_again_changes_nothing(tmp_path: Path) -> None:
    original = compiled(built(family("dense_qp")))
    original.save(tmp_path / "one")
    original.save(tmp_path / "two")
    optlayers.load(tmp_path / "one").save(tmp_path / "three")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes()


def test_numpy_opens_the_file(tmp_path: Path) -> None:
    compiled(built(family("lasso"))).save(tmp_path / "layer.npz")
    with np.load(tmp_path / "layer.npz", allow_pickle=False) as archive:
        assert archive["0"].dtype == np.int32
        assert b"optlayers layer" in archive["header.json"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        2**70,
        -0.0,
        1e-320,
        np.inf,
        -np.inf,
        'name with " and \\ and \u00e9 and \ud7ff',
        (),
        (1, 1, 1.0, True, (1, 1), (1, 1)),
        (0.0, -0.0, -0.0),
        {"a": 1, "b": ("c", None)},
        Product((*[Exponential()] * 5, Dual(Power((0.25, 0.75))), SecondOrder(3), Exponential())),
        Dual(Dual(Power((0.1, 0.2, 0.7)))),
    ],
    ids=repr,
)
def test_values_come_back_as_they_were(value: object) -> None:
    encoder = Encoder()
    back = Decoder(encoder.arrays).decode(encoder.encode(value))
    assert back == value
    assert repr(back) == repr(value)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int64, np.bool_])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (0, 2), (2, 3)])
def test_arrays_come_back_as_they_were(dtype: type, shape: tuple[int, ...], tmp_path: Path) -> None:
    from optlayers.storage.container import Contents, read, write

    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    write(tmp_path / "file", Contents(None, [array, np.asfortranarray(array).T]))
    back, turned = read(tmp_path / "file").arrays
    assert back.dtype == dtype
    assert back.shape == shape
    assert back.flags.writeable
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(turned, array.T)


def test_not_a_number_comes_back() -> None:
    assert np.isnan(Decoder([]).decode(Encoder().encode(np.nan)))


def test_runs_of_equal_cones_are_written_once() -> None:
    encoded = Encoder().encode(Product((*[SecondOrder(3)] * 10_000, *[Exponential()] * 10_000)))
    assert len(str(encoded)) < 300
    cones = Decoder([]).decode(encoded)
    assert cones == Product((*[SecondOrder(3)] * 10_000, *[Exponential()] * 10_000))


class OwnSolver(AbstractSolver):
    """A solver that the package does not know."""

    name = "OWN"
    accuracy = 1e-8
    max_iterations = 10

    @classmethod
    def option_names(cls) -> frozenset[str]:
        return frozenset()

    @classmethod
    def refuses(cls, cone: AbstractCone) -> str | None:
        return None

    def solve(self, program: object, start: object) -> object:
        raise NotImplementedError


def unchecked(solver: AbstractSolver, **changes: object) -> AbstractSolver:
    """The solver with fields that its class does not check, outside tests."""
    changed = dataclasses.replace(solver)
    for name, value in changes.items():
        object.__setattr__(changed, name, value)
    return changed


@pytest.mark.parametrize(
    ("solver", "text"),
    [
        (SCS(options={"write_data_filename": "/tmp/anything"}), "layer.call.solver, a solver SCS, .*names a file"),
        (Clarabel(options={"time_limit": [1.0]}), r"layer.call.solver.options\['time_limit'\] is a list"),
        (OwnSolver(1e-8, 10), "layer.call.solver is a OwnSolver"),
        (
            unchecked(OSQP(), max_iterations=1e4),
            "layer.call.solver.max_iterations is of type float; .*int",
        ),
    ],
    ids=["writes a file", "list", "unknown class", "type"],
)
def test_what_a_file_cannot_hold_is_refused_by_name(solver: AbstractSolver, text: str, tmp_path: Path) -> None:
    original = compiled(built(family("lasso")))
    call = dataclasses.replace(original.solution_map.call, solver=solver)
    changed = dataclasses.replace(original, solution_map=dataclasses.replace(original.solution_map, call=call))
    with pytest.raises(StorageError, match=text):
        changed.save(tmp_path / "layer")
    assert not list(tmp_path.iterdir())


def test_warnings_are_the_same(tmp_path: Path) -> None:
    x, c = cp.Variable(2), cp.Parameter(2)
    original = optlayers.compile(cp.Problem(cp.Minimize(c @ x), [x >= 0, cp.sum(x) == 1]), [c], [x])
    caught = []
    for each in (original, reloaded(original, tmp_path)):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            solution = each.solve(np.ones(2))
            each.vjp(solution, np.array([1.0, 0.0]))
        caught.append([str(warning.message) for warning in found])
    assert caught[0] == caught[1] != []
