"""Factorizations that are kept: a cache in front of the backward methods, never a part of what they mean."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, final, runtime_checkable

KEPT_POINTS = 128
"""Most entries of a cache."""

KEPT_BYTES = 2**26
"""Most memory of a cache; a single entry may be larger, until the next solve."""


@runtime_checkable
class Computed(Protocol):
    """What a method computes at a point, before it meets a vector."""

    @property
    def bytes(self) -> int:
        """Its memory."""

    def release(self) -> None:
        """Hand back what was borrowed for it: it is used no more."""


Entry = TypeVar("Entry", bound=Computed)


@final
class Cache:
    """What was computed at the points last met, by a key that determines it, so that no result depends on what is kept.

    At most `KEPT_POINTS` entries of together `KEPT_BYTES`, or one that is larger; the least recently used go first.
    Safe for threads: an entry is out of the cache while someone has it, and who asks for it meanwhile computes another.
    Copies and pickles are empty.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Cache], tuple[()]]:
        return Cache, ()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """The memory of the entries."""
        return self._bytes

    @contextmanager
    def borrow(self, key: Hashable, compute: Callable[[], Entry]) -> Iterator[Entry]:
        """What is kept for the key, or else is computed now, for the time of the context; then it is kept, unless the
        context ends with an exception."""
        entry = self._take(key)
        if entry is None:
            entry = compute()
        try:
            yield entry
        except BaseException:
            entry.release()
            raise
        self._keep(key, entry)

    def trim(self) -> None:
        """Let go of an entry that is larger than the bound: a solve needs the same memory."""
        with self._lock:
            released = self._shrink(0, 0)
        _release(released)

    def _take(self, key: Hashable) -> Any:
        """The entry for the key; or None, and room for another one of average size, so that it can reuse what those
        that went had borrowed."""
        with self._lock:
            entry, size = self._entries.pop(key, (None, 0))
            self._bytes -= size
            average = self._bytes // max(len(self._entries), 1)
            released = [] if entry is not None else self._shrink(1, average)
        _release(released)
        return entry

    def _keep(self, key: Hashable, entry: Computed) -> None:
        size = entry.bytes
        with self._lock:
            other, replaced = self._entries.pop(key, (None, 0))
            self._bytes -= replaced
            released = [*self._shrink(1, size), *([] if other is None else [other])]
            self._entries[key] = entry, size
            self._bytes += size
        _release(released)

    def _shrink(self, entries: int, size: int) -> list[Computed]:
        """The entries that go, so that so many more of this size fit."""
        released: list[Computed] = []
        while self._entries and (len(self._entries) + entries > KEPT_POINTS or self._bytes + size > KEPT_BYTES):
            _, (entry, freed) = self._entries.popitem(last=False)
            self._bytes -= freed
            released.append(entry)
        return released


def _release(entries: list[Computed]) -> None:
    for entry in entries:
        entry.release()
