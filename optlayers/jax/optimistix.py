"""Solvers of optimistix as solvers of equations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import jax
import optimistix

from optlayers.implicit.checks import check_count, check_kind

RootFinder: TypeAlias = optimistix.AbstractRootFinder[Any, Any, Any, Any]
LeastSquaresSolver: TypeAlias = optimistix.AbstractLeastSquaresSolver[Any, Any, Any, Any]


@final
@dataclass(frozen=True)
class Optimistix:
    """A root finder or least-squares solver of optimistix, such as `optimistix.Dogleg(rtol=1e-9, atol=1e-9)`.

    It sees the elements of a batch as one system, and stops by its own rule; its solution is then judged by ours.

    Source: Rader, Lyons and Kidger (2024), Optimistix.
    """

    solver: (
        optimistix.AbstractRootFinder[Any, Any, Any, Any] | optimistix.AbstractLeastSquaresSolver[Any, Any, Any, Any]
    )
    max_steps: int = 1000

    def __post_init__(self) -> None:
        kinds = (optimistix.AbstractRootFinder, optimistix.AbstractLeastSquaresSolver)
        expected = (
            "a root finder or least-squares solver of optimistix, as an object such as "
            "optimistix.Newton(rtol=1e-9, atol=1e-9),"
        )
        check_kind("Optimistix", "solver", self.solver, kinds, expected)
        check_count("Optimistix", "max_steps", self.max_steps)

    def __call__(self, F: Callable[[jax.Array], jax.Array], z0: jax.Array) -> jax.Array:
        """z with F(z) = 0, from z0."""
        found: Any = optimistix.root_find(lambda z, _: F(z), self.solver, z0, max_steps=self.max_steps, throw=False)
        z: jax.Array = found.value
        return z
