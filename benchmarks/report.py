"""Results as text."""

from __future__ import annotations

import numpy as np

from benchmarks.case import Case
from benchmarks.reference import Reference
from benchmarks.result import Measurement, Result

NAME_WIDTH, WIDTH = 23, 8
COLUMNS = ("form", "set-up", "first", "median", "min", "max", "forward", "solution", "gradient", "peak")
UNITS = ("", "ms", "ms", "ms", "ms", "ms", "ms", "error", "error", "MB")
LONGEST_REMARK = 160


def title(case: Case, reference: Reference) -> str:
    """The heading of a case, with what its reference is worth, and of its columns."""
    lines = [
        f"{case.family.name}, size {case.size}, batch {case.batch}; gradients are compared with differences of error "
        f"{reference.error:.0e}",
        *(f"  {remark}" for remark in reference.remarks),
        _line("contestant", COLUMNS),
        _line("", UNITS),
    ]
    return "\n".join(lines)


def row(result: Result) -> str:
    """The line of a contestant, and its remarks below."""
    if result.measurement is None:
        return _line(result.contestant, ()) + " " + _shorten("; ".join(result.remarks))
    remarks = [f"    {_shorten(remark)}" for remark in result.remarks]
    return "\n".join([_line(result.contestant, _cells(result.measurement)), *remarks])


def _cells(measurement: Measurement) -> tuple[str, ...]:
    timing, total = measurement.timing, measurement.timing.total
    seconds = (measurement.set_up, timing.first, np.median(total), total.min(), total.max(), np.median(timing.forward))
    errors = (measurement.solution_error, measurement.gradient_error)
    return (
        measurement.form,
        *(f"{1e3 * each:.1f}" for each in seconds),
        *(f"{each:.0e}" for each in errors),
        "-" if measurement.megabytes is None else f"{max(0.0, measurement.megabytes):.0f}",
    )


def _line(name: str, cells: tuple[str, ...]) -> str:
    return f"  {name:<{NAME_WIDTH}}" + "".join(f" {cell:>{WIDTH}}" for cell in cells)


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_REMARK else line[: LONGEST_REMARK - 3] + "..."
