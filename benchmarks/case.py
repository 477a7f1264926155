"""Which problems are timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from tests.problems import FAMILIES, Family

HEADLINE = {
    "dense_qp": (10, 128),
    "simplex_projection": (100, 128),
    "mpc": (20, 32),
    "portfolio": (100, 16),
    "transport": (20, 8),
    "robust_least_squares": (20, 16),
}
"""Size and batch of the families that are compared from release to release."""

BATCHES = (1, 32)
"""Batch sizes of every other case."""

QUICK_BATCH = 2


@final
@dataclass(frozen=True)
class Case:
    """A family at one size and batch."""

    family: Family
    size: int
    batch: int


def headline_cases() -> list[Case]:
    """The headline, in its order, without `missing_headlines`."""
    catalogue = {family.name: family for family in FAMILIES}
    return [Case(catalogue[name], *numbers) for name, numbers in HEADLINE.items() if name in catalogue]


def missing_headlines() -> list[str]:
    """The families of the headline that the catalogue does not have yet."""
    return [name for name in HEADLINE if name not in {family.name for family in FAMILIES}]


def choose_cases(
    names: Sequence[str] = (), sizes: Sequence[int] = (), batches: Sequence[int] = (), quick: bool = False
) -> list[Case]:
    """The named families, or all, at the sizes and batches given, or at the catalogue's sizes and `BATCHES`.

    quick: instead of these, the size of the tests and `QUICK_BATCH`.
    """
    return [
        Case(family, size, batch)
        for family in FAMILIES
        if not names or family.name in names
        for size in sizes or ((family.size,) if quick else family.bench_sizes)
        for batch in batches or ((QUICK_BATCH,) if quick else BATCHES)
    ]
