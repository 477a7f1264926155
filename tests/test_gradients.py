"""Derivatives of every family, by every solver, in every front-end and both modes, against central differences."""

from __future__ import annotations

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from conic_problems import CONIC_FAMILIES
from oracles import central_difference, flatten, random_directions, require_close, unchecked
from problems import FAMILIES, Family, Instance

import optlayers
from optlayers.jax import CvxpyLayer as JaxLayer
from optlayers.torch import CvxpyLayer as TorchLayer

SOLVERS = ("OSQP", "SCS", "CLARABEL")
CASES = [
    *((family, solver) for family in FAMILIES for solver in SOLVERS),
    *((each.family, solver) for each in CONIC_FAMILIES for solver in SOLVERS[1:]),
]
TOLERANCE = 1e-6
ADJOINT_TOLERANCE = 1e-10
DIRECTIONS = 3

Directions = list[tuple[np.ndarray, ...]]


Products = tuple[list[np.ndarray], list[np.ndarray]]
"""J d for each direction, and J' cotangents, one array for each parameter."""


def by_numpy(instance: Instance, solver: str, directions: Directions, cotangents: list[np.ndarray]) -> Products:
    compiled = optlayers.compile(instance.problem, instance.parameters, instance.outputs, solver=solver, gp=instance.gp)
    solution = compiled.solve(*instance.values)
    products = [flatten(compiled.jvp(solution, *direction)) for direction in directions]
    return products, list(compiled.vjp(solution, *cotangents))


def by_torch(instance: Instance, solver: str, directions: Directions, cotangents: list[np.ndarray]) -> Products:
    layer = TorchLayer(
        instance.problem, list(instance.parameters), list(instance.outputs), solver=solver, gp=instance.gp
    )
    values = tuple(torch.tensor(value) for value in instance.values)
    stacked = [torch.tensor(np.stack(parts)) for parts in zip(*directions, strict=True)]
    tangents = torch.func.vmap(lambda *d: torch.func.jvp(layer, values, d)[1])(*stacked)
    products = [flatten([tangent[row].numpy() for tangent in tangents]) for row in range(len(directions))]
    leaves = [value.requires_grad_() for value in values]
    torch.autograd.backward(layer(*leaves), [torch.tensor(g) for g in cotangents])
    return products, [leaf.grad.numpy() for leaf in leaves]


def by_jax(instance: Instance, solver: str, directions: Directions, cotangents: list[np.ndarray]) -> Products:
    layer = JaxLayer(instance.problem, list(instance.parameters), list(instance.outputs), solver=solver, gp=instance.gp)
    values = tuple(jnp.asarray(value) for value in instance.values)
    _, push_forward = jax.linearize(layer, *values)
    products = [flatten([np.asarray(part) for part in push_forward(*map(jnp.asarray, d))]) for d in directions]
    _, pullback = jax.vjp(layer, *values)
    return products, [np.asarray(gradient) for gradient in pullback(tuple(jnp.asarray(g) for g in cotangents))]


@pytest.mark.parametrize(("family", "solver"), CASES, ids=[f"{solver}-{family.name}" for family, solver in CASES])
def test_every_front_end_in_both_modes(family: Family, solver: str) -> None:
    """One oracle for the three: central differences of solutions. Types are checked with one of the solvers only."""
    with nullcontext() if solver == SOLVERS[-1] else unchecked():
        require_all_derivatives(family, solver)


def require_all_derivatives(family: Family, solver: str) -> None:
    instance = family.build(np.random.default_rng(0), family.size)
    compiled = optlayers.compile(instance.problem, instance.parameters, instance.outputs, solver=solver, gp=instance.gp)
    rng = np.random.default_rng(1)
    directions = [random_directions(instance, rng) for _ in range(DIRECTIONS)]
    differences = np.array(
        [central_difference(lambda *v: compiled.solve(*v).outputs, instance.values, d) for d in directions]
    )
    rng = np.random.default_rng(2)
    cotangents = [rng.standard_normal(output.shape) for output in instance.outputs]
    for by_front_end in (by_numpy, by_torch, by_jax):
        products, gradients = by_front_end(instance, solver, directions, cotangents)
        require_close(np.array(products), differences, TOLERANCE)
        along = np.array([sum(np.vdot(g, d) for g, d in zip(gradients, ds, strict=True)) for ds in directions])
        require_close(along, differences @ flatten(cotangents), TOLERANCE)
        require_close(along, np.array(products) @ flatten(cotangents), ADJOINT_TOLERANCE)
