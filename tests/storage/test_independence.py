"""Loading needs neither CVXPY nor the packages of other solvers, and costs little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest
from problems import family

import optlayers
from optlayers import OSQP, CompiledProblem
from optlayers.storage.container import read

WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""

IN_NUMPY = """
import numpy as np, optlayers
layer = optlayers.load(sys.argv[1])
solution = layer.solve(np.array([2.0, -1.0, 0.3]))
print(*solution.outputs[0], *layer.vjp(solution, np.arange(3.0))[0], *layer.jvp(solution, np.arange(3.0))[0])
"""

IN_TORCH = """
import torch, optlayers.torch
layer = optlayers.torch.load(sys.argv[1])
z = torch.tensor([2.0, -1.0, 0.3], dtype=torch.float64, requires_grad=True)
(x,) = layer(z)
(x * torch.arange(3.0)).sum().backward()
_, tangent = torch.func.jvp(lambda z: layer(z)[0], (z.detach(),), (torch.arange(3.0, dtype=torch.float64),))
print(*(float(each) for part in (x, z.grad, tangent) for each in part))
"""

IN_JAX = """
import jax, jax.numpy as jnp, optlayers.jax
jax.config.update("jax_enable_x64", True)
layer = optlayers.jax.load(sys.argv[1])
z, t = jnp.array([2.0, -1.0, 0.3]), jnp.arange(3.0)
x, tangent = jax.jvp(lambda z: layer(z)[0], (z,), (t,))
gradient = jax.jit(jax.grad(lambda z: layer(z)[0] @ t))(z)
print(*(float(each) for part in (x, gradient, tangent) for each in part))
"""

TRACED = """
import pickle, torch, optlayers.torch
layer = optlayers.torch.load(sys.argv[1])
z = torch.tensor([2.0, -1.0, 0.3], dtype=torch.float64)
traced = torch.compile(layer, backend="eager", fullgraph=True)
print(all(torch.equal(each(z)[0], layer(z)[0]) for each in (traced, pickle.loads(pickle.dumps(layer)))))
"""

REFUSED = """
import optlayers
from optlayers.errors import MissingPackageError
try:
    {statement}
except MissingPackageError as error:
    print(error)
"""


def run(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def projection() -> CompiledProblem:
    x, z = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - z)), [cp.norm(x) <= 1, x >= 0, cp.sum(x) <= 1.2])
    return optlayers.compile(problem, [z], [x])


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        (IN_NUMPY, ("cvxpy", "torch", "jax", "osqp", "scs")),
        (IN_TORCH, ("cvxpy", "jax", "osqp", "scs")),
        (IN_JAX, ("cvxpy", "torch", "osqp", "scs")),
    ],
    ids=["numpy", "torch", "jax"],
)
def test_a_loaded_layer_needs_no_cvxpy(
    code: str, absent: tuple[str, ...], projection: CompiledProblem, tmp_path: Path
) -> None:
    projection.save(tmp_path / "layer")
    solution = projection.solve(np.array([2.0, -1.0, 0.3]))
    expected = [
        *solution.outputs,
        *projection.vjp(solution, np.arange(3.0)),
        *projection.jvp(solution, np.arange(3.0)),
    ]
    printed = run(WITHOUT.format(absent=absent) + code, tmp_path / "layer")
    np.testing.assert_array_equal(np.array(printed.split(), dtype=np.float64), np.concatenate(expected))


def test_a_loaded_layer_is_traced_and_pickled(projection: CompiledProblem, tmp_path: Path) -> None:
    projection.save(tmp_path / "layer")
    assert run("import sys" + TRACED, tmp_path / "layer").strip() == "True"


def test_a_missing_solver_is_named(projection: CompiledProblem, tmp_path: Path) -> None:
    projection.save(tmp_path / "layer")
    code = WITHOUT.format(absent=("clarabel",)) + REFUSED.format(statement="optlayers.load(sys.argv[1])")
    assert "solver CLARABEL needs the package 'clarabel'" in run(code, tmp_path / "layer")

    instance = family("box_projection").build(np.random.default_rng(0), 3)
    optlayers.compile(instance.problem, instance.parameters, instance.outputs, solver=OSQP()).save(tmp_path / "other")
    code = WITHOUT.format(absent=("osqp",)) + REFUSED.format(statement="optlayers.load(sys.argv[1])")
    printed = run(code, tmp_path / "other")
    assert "solver OSQP needs the package 'osqp'" in printed
    assert "pip install osqp" in printed


def test_compiling_without_cvxpy_is_refused() -> None:
    code = WITHOUT.format(absent=("cvxpy",)) + REFUSED.format(statement="optlayers.compile(None, [], [])")
    assert "compiling a problem needs the package 'cvxpy'" in run(code)


def test_importing_and_loading_import_no_cvxpy(projection: CompiledProblem, tmp_path: Path) -> None:
    projection.save(tmp_path / "layer")
    code = "import sys, optlayers; optlayers.load(sys.argv[1]); print({'cvxpy', 'torch', 'jax'} & set(sys.modules))"
    assert run(code, tmp_path / "layer").strip() == "set()"


LARGE = """
import os, sys, time
import cvxpy as cp, optlayers

n = 1500
x, z = cp.Variable(n), cp.Parameter(n)
balls = cp.norm(cp.reshape(x, (500, 3), order="C"), axis=1) <= 1
problem = cp.Problem(cp.Minimize(cp.sum_squares(x - z) + cp.sum(cp.exp(x)) / n), [x <= 2, cp.sum(x) == 1, balls])

def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start

compiling = seconds(lambda: optlayers.compile(problem, [z], [x]))
compiled = optlayers.compile(problem, [z], [x])
compiled.save(sys.argv[1])
loading = min(seconds(lambda: optlayers.load(sys.argv[1])) for _ in range(5))
print(compiling, loading, compiled.solution_map.parametric.structure.m)
"""


def test_loading_takes_a_fraction_of_compiling(tmp_path: Path) -> None:
    """10,001 rows, among them 500 second-order and 1,500 exponential cones: 500 ms to compile and 5 ms to load; where
    hundreds of constraints say the same, CVXPY takes many seconds."""
    compiling, loading, rows = map(float, run(LARGE, tmp_path / "layer").split())
    assert rows > 10_000
    assert loading < compiling / 10, f"{loading:.4f} s to load, {compiling:.4f} s to compile"
    assert (tmp_path / "layer").stat().st_size < 100_000
    assert len(str(read(tmp_path / "layer").document)) < 5_000
