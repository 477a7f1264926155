"""Derivatives of every family, by every solver, in every front-end and both modes, against central differences."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from conic_problems import CONIC_FAMILIES
from oracles import central_difference, flatten, random_directions, require_close
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


@cache
def instance_of(family: Family) -> Instance:
    return family.build(np.random.default_rng(0), family.size)


@cache
def oracle(family: Family, solver: str) -> tuple[list[tuple[np.ndarray, ...]], np.ndarray]:
    """Random directions, and the central differences of all outputs along them, one row each."""
    instance = instance_of(family)
    compiled = optlayers.compile(instance.problem, instance.parameters, instance.outputs, solver=solver, gp=instance.gp)
    rng = np.random.default_rng(1)
    directions = [random_directions(instance, rng) for _ in range(DIRECTIONS)]
    return directions, np.array(
        [central_difference(lambda *v: compiled.solve(*v).outputs, instance.values, d) for d in directions]
    )


def random_cotangents(instance: Instance) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [rng.standard_normal(output.shape) for output in instance.outputs]


def check(
    family: Family,
    solver: str,
    products: np.ndarray,
    cotangents: list[np.ndarray],
    gradients: list[np.ndarray],
) -> None:
    """products: J d for each direction; gradients: J' cotangents, one array for each parameter."""
    directions, differences = oracle(family, solver)
    require_close(products, differences, TOLERANCE)
    along = np.array([sum(np.vdot(g, d) for g, d in zip(gradients, ds, strict=True)) for ds in directions])
    require_close(along, differences @ flatten(cotangents), TOLERANCE)
    require_close(along, products @ flatten(cotangents), ADJOINT_TOLERANCE)


cases = pytest.mark.parametrize(
    ("family", "solver"), CASES, ids=[f"{solver}-{family.name}" for family, solver in CASES]
)


@cases
def test_numpy(family: Family, solver: str) -> None:
    instance = instance_of(family)
    compiled = optlayers.compile(instance.problem, instance.parameters, instance.outputs, solver=solver, gp=instance.gp)
    solution = compiled.solve(*instance.values)
    directions, _ = oracle(family, solver)
    products = np.array([flatten(compiled.jvp(solution, *direction)) for direction in directions])
    cotangents = random_cotangents(instance)
    check(family, solver, products, cotangents, list(compiled.vjp(solution, *cotangents)))


@cases
def test_torch(family: Family, solver: str) -> None:
    instance = instance_of(family)
    layer = TorchLayer(
        instance.problem, list(instance.parameters), list(instance.outputs), solver=solver, gp=instance.gp
    )
    values = tuple(torch.tensor(value) for value in instance.values)
    directions, _ = oracle(family, solver)
    products = []
    for direction in directions:
        _, tangents = torch.func.jvp(layer, values, tuple(torch.tensor(d) for d in direction))
        products.append(flatten([tangent.numpy() for tangent in tangents]))
    leaves = [value.requires_grad_() for value in values]
    cotangents = random_cotangents(instance)
    torch.autograd.backward(layer(*leaves), [torch.tensor(g) for g in cotangents])
    check(family, solver, np.array(products), cotangents, [leaf.grad.numpy() for leaf in leaves])


@cases
def test_jax(family: Family, solver: str) -> None:
    instance = instance_of(family)
    layer = JaxLayer(instance.problem, list(instance.parameters), list(instance.outputs), solver=solver, gp=instance.gp)
    values = tuple(jnp.asarray(value) for value in instance.values)
    directions, _ = oracle(family, solver)
    products = []
    for direction in directions:
        _, tangents = jax.jvp(layer, values, tuple(jnp.asarray(d) for d in direction))
        products.append(flatten([np.asarray(tangent) for tangent in tangents]))
    cotangents = random_cotangents(instance)
    _, pullback = jax.vjp(layer, *values)
    gradients = pullback(tuple(jnp.asarray(g) for g in cotangents))
    check(family, solver, np.array(products), cotangents, [np.asarray(gradient) for gradient in gradients])
