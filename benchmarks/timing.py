"""Timing a layer."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from time import perf_counter
from typing import final

import numpy as np

from benchmarks.contestant import Layer, Values

FEWEST_REPEATS = 3
"""Calls that are timed even where they exceed the budget."""


@final
@dataclass(frozen=True)
class Timing:
    """Seconds of forward and of backward for each repeated call; `first` is the whole first call."""

    first: float
    forward: tuple[float, ...]
    backward: tuple[float, ...]

    @property
    def total(self) -> np.ndarray:
        """Seconds of each repeated call, forward and backward."""
        return np.add(self.forward, self.backward)


def call(layer: Layer, values: Values, cotangents: Values) -> tuple[Values, Values, float, float]:
    """Outputs, gradients, seconds forward, seconds backward."""
    start = perf_counter()
    outputs, pullback = layer(values)
    middle = perf_counter()
    gradients = pullback(cotangents)
    return outputs, gradients, middle - start, perf_counter() - middle


def repeat(layer: Layer, values: Values, cotangents: Values, first: float, repeats: int, budget: float) -> Timing:
    """Time up to `repeats` calls, after one that took `first` seconds; fewer where they would take over `budget`."""
    forward: list[float] = []
    backward: list[float] = []
    gc.collect()
    while len(forward) < repeats and (len(forward) < FEWEST_REPEATS or sum(forward) + sum(backward) < budget):
        _, _, ahead, back = call(layer, values, cotangents)
        forward.append(ahead)
        backward.append(back)
    return Timing(first, tuple(forward), tuple(backward))
