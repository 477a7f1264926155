"""One rule, two ways: the optimality conditions of the convex layer, as an equation that `root` solves.

The residual map R(x, v) is written here anew, dense, and differentiated by the frameworks; the layer's gradient comes
from its own factorization of the symmetric system.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from conic_problems import CONIC_FAMILIES
from oracles import flatten, require_close
from problems import FAMILIES

import optlayers
import optlayers.jax
import optlayers.torch
from optlayers.program import ParametricProgram

BY_NAME = {each.name: each for each in (*FAMILIES, *(conic.family for conic in CONIC_FAMILIES))}


def dense_maps(program: ParametricProgram) -> tuple[np.ndarray, ...]:
    """The affine map of theta to (P, q, A, b) all dense, one after the other, and that of (x, y) to the output."""
    structure = program.structure
    n, m = structure.n, structure.m
    P, q, A = structure.data_slices
    spread = np.zeros((n * n + n + m * n + m, structure.data_size))
    pattern, source = structure.full_P
    spread[pattern.rows * n + pattern.columns, np.asarray(source) + P.start] = 1
    spread[n * n + np.arange(n), np.arange(q.start, q.stop)] = 1
    spread[n * n + n + structure.A.rows * n + structure.A.columns, np.arange(A.start, A.stop)] = 1
    spread[n * n + n + m * n + np.arange(m), np.arange(A.stop, structure.data_size)] = 1
    return (
        spread @ program.data.matrix.toarray(),
        spread @ program.data.offset,
        program.recovery.matrix.toarray(),
        program.recovery.offset,
    )


def conditions(xp: Any, program: ParametricProgram, matrix: Any, offset: Any) -> Any:
    """R(z, theta) for z = (x, v)."""
    n, m, cones = program.structure.n, program.structure.m, program.structure.cones

    def R(z: Any, theta: Any) -> Any:
        data = matrix @ theta + offset
        P, q = data[: n * n].reshape(n, n), data[n * n : n * n + n]
        A, b = data[n * n + n : -m].reshape(m, n), data[-m:]
        x, v = z[:n], z[n:]
        y = cones.project_dual(xp, v)
        return xp.concatenate([P @ x + A.T @ y + q, A @ x + y - v - b])

    return R


@pytest.mark.parametrize("framework", ["torch", "jax"])
@pytest.mark.parametrize("name", ["dense_qp", "norm_constrained", "nearest_correlation"])
def test_root_of_the_optimality_conditions_gives_the_layers_gradient(name: str, framework: str) -> None:
    family = BY_NAME[name]
    instance = family.build(np.random.default_rng(0), family.size)
    compiled = optlayers.compile(instance.problem, instance.parameters, instance.outputs)
    solution = compiled.solve(*instance.values)
    program = compiled.solution_map.parametric
    theta = program.signature.pack(np, list(instance.values))
    _, residuals = compiled.solution_map.forward(theta)
    cotangent = np.random.default_rng(1).standard_normal(program.signature.k)
    ours = compiled.solution_map.derivative(residuals, cotangent, transpose=True)

    start = np.concatenate([residuals.x, residuals.v]) + 1e-4
    xp, array, grad, root = (
        (torch, torch.tensor, lambda f: torch.func.grad(f, has_aux=True), optlayers.torch.root)
        if framework == "torch"
        else (jnp, jnp.asarray, lambda f: jax.jit(jax.grad(f, has_aux=True)), optlayers.jax.root)
    )
    matrix, offset, recovery, shift = map(array, dense_maps(program))
    R = conditions(xp, program, matrix, offset)
    n = program.structure.n

    def loss(theta: Any) -> Any:
        z = root(R, array(start), theta)
        outputs = recovery @ xp.concatenate([z[:n], program.structure.cones.project_dual(xp, z[n:])]) + shift
        return (array(cotangent) * outputs).sum(), outputs

    gradient, outputs = grad(loss)(array(theta))
    np.testing.assert_allclose(np.asarray(outputs), flatten(solution.outputs), rtol=0, atol=1e-8)
    require_close(np.asarray(gradient), ours, 1e-8)
