"""What is known of one contestant on one case."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, final

from benchmarks.case import Case
from benchmarks.timing import Timing


@final
@dataclass(frozen=True)
class Measurement:
    """Times in seconds; errors as in `accuracy`; `megabytes` as in `memory`.

    form: "given" or "plain" (`formulation`).
    set_up: from the CVXPY problem to the layer.
    """

    form: str
    set_up: float
    timing: Timing
    solution_error: float
    gradient_error: float
    megabytes: float | None


@final
@dataclass(frozen=True)
class Result:
    """A measurement, or none, and the remarks that belong to it: why there is none, what was warned of."""

    case: Case
    contestant: str
    measurement: Measurement | None
    remarks: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """The result in plain types."""
        return {
            "family": self.case.family.name,
            "size": self.case.size,
            "batch": self.case.batch,
            "contestant": self.contestant,
            **(asdict(self.measurement) if self.measurement else {}),
            "remarks": list(self.remarks),
        }
