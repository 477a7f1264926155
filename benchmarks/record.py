"""Results as a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_records(path: Path, environment: dict[str, str], records: Sequence[dict[str, Any]]) -> None:
    """{"environment": ..., "results": [...]}; numbers that are not finite become null, as JSON has none."""
    content = {"environment": environment, "results": [_finite(record) for record in records]}
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
