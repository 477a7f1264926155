"""A family of each cone as a function f: R^3 -> R^k: from the parameters, moved along three directions, to all outputs.

The plain path is the compiled problem on NumPy arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, final

import numpy as np
from conic_problems import CONIC_FAMILIES
from framework import Framework
from oracles import flatten, random_directions
from problems import FAMILIES, Family

import optlayers

DIRECTIONS = 3
NAMES = {
    "linear": "dense_qp",
    "second-order": "norm_constrained",
    "exponential": "softmax",
    "power": "geometric_mean",
    "semidefinite": "nearest_correlation",
    "log-log": "power_control",
}
"""A family of each cone, and a geometric program."""

BY_NAME: dict[str, Family] = {each.name: each for each in (*FAMILIES, *(conic.family for conic in CONIC_FAMILIES))}


def outputs_at(
    xp: Any, layer: Callable[..., Sequence[Any]], values: Sequence[Any], moves: Sequence[Any], z: Any
) -> Any:
    """f (*B, k) at z (*B, 3), by the framework of `xp`: the layer's parameters are values + z_1 moves_1 + ..."""
    arguments = [value + xp.tensordot(z, move, 1) for value, move in zip(values, moves, strict=True)]
    batch = z.shape[:-1]
    parts = [output.reshape(*batch, math.prod(output.shape[len(batch) :])) for output in layer(*arguments)]
    return xp.concatenate(parts, -1)


@final
class Restriction:
    """A family along three directions, and the plain path."""

    def __init__(self, family: Family) -> None:
        self.instance = family.build(np.random.default_rng(0), family.size)
        rng = np.random.default_rng(1)
        # Small, so that points a step of one away are regular as well.
        self.directions = [[1e-3 * part for part in random_directions(self.instance, rng)] for _ in range(DIRECTIONS)]
        self.moves = [np.stack(parts) for parts in zip(*self.directions, strict=True)]
        self.compiled = self.built(optlayers.compile)

    def built(self, constructor: Callable[..., Any]) -> Any:
        """The family's problem as a layer."""
        instance = self.instance
        return constructor(instance.problem, list(instance.parameters), list(instance.outputs), gp=instance.gp)

    def values(self, z: np.ndarray) -> list[np.ndarray]:
        """The parameters' values at z."""
        return [value + np.tensordot(z, move, 1) for value, move in zip(self.instance.values, self.moves, strict=True)]

    def f(self, z: np.ndarray) -> np.ndarray:
        """f (k,) at z (3,)."""
        return flatten(self.compiled.solve(*self.values(z)).outputs)

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """J (k, 3) at z (3,)."""
        solution = self.compiled.solve(*self.values(z))
        return np.stack([flatten(self.compiled.jvp(solution, *parts)) for parts in self.directions], axis=1)


@cache
def restriction(cone: str) -> Restriction:
    return Restriction(BY_NAME[NAMES[cone]])


@final
class Case:
    """A family of the cone in a framework, with a loss, a point and a batch of two points."""

    def __init__(self, framework: Framework, cone: str) -> None:
        self.framework = framework
        self.restriction = restriction(cone)
        self.instance = self.restriction.instance
        self.layer = self.restriction.built(framework.layer)
        self.parameters = [
            [framework.array(each) for each in arrays] for arrays in (self.instance.values, self.restriction.moves)
        ]
        rng = np.random.default_rng(2)
        self.z = rng.standard_normal(DIRECTIONS)
        self.batch = self.z + 0.5 * rng.standard_normal((2, DIRECTIONS))
        self.cotangent = rng.standard_normal(len(self.restriction.f(self.z)))
        self.weights = framework.array(self.cotangent)

    def f(self, z: Any) -> Any:
        """All outputs (*B, k) at z (*B, 3)."""
        return outputs_at(self.framework.xp, self.layer, *self.parameters, z)

    def loss(self, z: Any) -> Any:
        """A scalar that is not linear in the outputs."""
        return (self.weights * self.framework.xp.sin(self.f(z))).sum()

    @cache  # noqa: B019  (a case lives as long as the tests)
    def plain(self, row: int | None = None) -> np.ndarray:
        """f at z, or at a row of the batch."""
        return self.restriction.f(self.z if row is None else self.batch[row])

    @cache  # noqa: B019
    def jacobian(self, row: int | None = None) -> np.ndarray:
        """J (k, 3) at z, or at a row of the batch."""
        return self.restriction.jacobian(self.z if row is None else self.batch[row])

    def gradient(self, row: int | None = None) -> np.ndarray:
        return (self.cotangent * np.cos(self.plain(row))) @ self.jacobian(row)

    def point(self) -> Any:
        return self.framework.array(self.z)

    def points(self) -> Any:
        return self.framework.array(self.batch)


@cache
def case_of(framework: Framework, cone: str) -> Case:
    return Case(framework, cone)
