"""The Cartesian product of cones, in the order of their rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float

from optlayers.arrays import Arrays, Vector
from optlayers.cones.abstract import AbstractCone, Resolution
from optlayers.cones.derivative import AbstractDerivative


@final
@dataclass(frozen=True, slots=True)
class Run:
    """`count` equal cones one after another, from row `start` on; their rows are seen as (*B, count, cone.size)."""

    cone: AbstractCone
    start: int
    count: int

    @property
    def stop(self) -> int:
        """The row after the last."""
        return self.start + self.count * self.cone.size

    def take(self, xp: Arrays, v: Float[Any, "*B m"]) -> Float[Any, "*B count size"]:
        """The run's rows of v."""
        return xp.reshape(v[..., self.start : self.stop], (*v.shape[:-1], self.count, self.cone.size))


@final
@dataclass(frozen=True, slots=True)
class Block:
    """The derivatives D of a run of equal cones: `D` has the batch shape (*B, run.count)."""

    run: Run
    D: AbstractDerivative


@final
@dataclass(frozen=True, slots=True)
class BlockDerivative:
    """D = D Pi(v) of a product: block-diagonal, in the order of the rows."""

    blocks: tuple[Block, ...]

    def apply(self, xp: Arrays, h: Float[Any, "*B m"]) -> Float[Any, "*B m"]:
        """D h."""
        return _join(xp, h, [block.D.apply(xp, block.run.take(xp, h)) for block in self.blocks])

    def apply_each(self, xp: Arrays, rows: Float[Any, "k m"]) -> Float[Any, "k m"]:
        """D h for each row h, of an unbatched D."""
        return xp.stack([self.apply(xp, row) for row in rows], axis=0) if len(rows) else rows


@final
@dataclass(frozen=True)
class Product:
    """K = K_1 x ... x K_k; everything acts on each factor's rows, on runs of equal factors at once."""

    factors: tuple[AbstractCone, ...]

    @property
    def size(self) -> int:
        """The number of rows."""
        return sum(cone.size for cone in self.factors)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs of equal factors, in the order of the rows."""
        runs, start = [], 0
        for cone, equal in groupby(cone for cone in self.factors if cone.size):
            run = Run(cone, start, len(list(equal)))
            runs.append(run)
            start = run.stop
        return tuple(runs)

    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        """Pi(v), the point of K* nearest to v."""
        return self._map(xp, lambda run: run.cone.project_dual(xp, run.take(xp, v)), v)

    def derivative(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution | None = None) -> BlockDerivative:
        """D = D Pi(v), with each cone's documented choice where v is on a kink, or within `zero` of one."""
        return BlockDerivative(
            tuple(
                Block(run, run.cone.derivative(xp, run.take(xp, v), None if zero is None else _take(xp, run, zero)))
                for run in self.runs
            )
        )

    def kinks(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution) -> Bool[Any, "*B kinks"]:
        """Which of the kinks of Pi v is on, to the resolution `zero`; the kinks in the order of their cones."""
        return self._map(xp, lambda run: run.cone.kinks(xp, run.take(xp, v), _take(xp, run, zero)), v < v)

    def second_derivative(
        self, xp: Arrays, v: Float[Any, "*B size"], a: Float[Any, "*B size"], c: Float[Any, "*B size"]
    ) -> Float[Any, "*B size"]:
        """d/dv <a, D(v) c>."""
        return self._map(xp, lambda run: run.cone.second_derivative(xp, *(run.take(xp, part) for part in (v, a, c))), v)

    def smoothed(
        self, xp: Arrays, v: Float[Any, "*B size"], mu: float
    ) -> tuple[Float[Any, "*B size"], BlockDerivative]:
        """The projection smoothed by the barrier parameter mu > 0, and its derivative."""
        parts = [run.cone.smoothed(xp, run.take(xp, v), mu) for run in self.runs]
        blocks = tuple(Block(run, part.derivative) for run, part in zip(self.runs, parts, strict=True))
        return _join(xp, v, [part.y for part in parts]), BlockDerivative(blocks)

    def active(self, xp: Arrays, y: Float[Any, "*B size"]) -> Bool[Any, "*B size"]:
        """The rows whose multiplier moves with v, at the multiplier y."""
        return self._map(xp, lambda run: run.cone.active(xp, run.take(xp, y)), y > 0)

    def share_largest(self, sizes: Vector) -> Vector:
        """The sizes of the rows, those of a cone that is not separable replaced by the largest among them."""
        shared = sizes.copy()
        for run in self.runs:
            if not run.cone.separable:
                own = run.take(np, sizes)
                shared[run.start : run.stop] = np.broadcast_to(own.max(axis=-1, keepdims=True), own.shape).ravel()
        return shared

    def _map(self, xp: Arrays, function: Callable[[Run], Any], empty: Any) -> Any:
        return _join(xp, empty, [function(run) for run in self.runs])


def _take(xp: Arrays, run: Run, zero: Resolution) -> Resolution:
    return Resolution(run.take(xp, zero.dual), run.take(xp, zero.primal))


def _join(xp: Arrays, like: Any, parts: list[Any]) -> Any:
    """Parts of shape (*B, count, size) side by side, (*B, sum of count size); `like` itself if there are none."""
    if not parts:
        return like
    flat = [xp.reshape(part, (*part.shape[:-2], part.shape[-2] * part.shape[-1])) for part in parts]
    return flat[0] if len(flat) == 1 else xp.concat(flat, axis=-1)
