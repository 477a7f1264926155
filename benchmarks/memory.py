"""Peak memory of a piece of work, from Linux's own account of the process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@final
@dataclass
class Peak:
    """`megabytes` by which the resident memory grew at most; None where it cannot be measured.

    Memory that the process had freed but not returned is used again without being seen.
    """

    megabytes: float | None = None


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """The growth during the context; `megabytes` is set at its end."""
    peak = Peak()
    gc.collect()
    try:
        _RESET.write_text("5")  # sets the high-water mark to the present size
        before = _kilobytes("VmRSS")
    except (OSError, KeyError):
        yield peak
        return
    yield peak
    peak.megabytes = (_kilobytes("VmHWM") - before) / 1024


def _kilobytes(field: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[field].split()[0])
