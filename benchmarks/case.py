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
}
"""Size and batch of the families that are compared from release to release; they come first in every run."""

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


def choose_cases(
    names: Sequence[str] = (), sizes: Sequence[int] = (), batches: Sequence[int] = (), quick: bool = False
) -> list[Case]:
    """The headline, then every family at its benchmark sizes; or what is named, at the sizes and batches given.

    quick: every family once, at the size of the tests.
    """
    families = [family for family in FAMILIES if not names or family.name in names]
    if quick:
        return [
            Case(family, size, batch)
            for family in families
            for size in sizes or (family.size,)
            for batch in batches or (QUICK_BATCH,)
        ]
    cases = [
        Case(family, size, batch)
        for family in families
        for size in sizes or family.bench_sizes
        for batch in batches or BATCHES
    ]
    if not (sizes or batches):
        headline = [Case(family, *HEADLINE[family.name]) for family in families if family.name in HEADLINE]
        cases = [*headline, *(case for case in cases if case not in headline)]
    return cases
