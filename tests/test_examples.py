"""Every example runs, warns of nothing, prints its table and draws its picture."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
PRINTED = {"portfolio": ["two-stage", "decision-focused", "equal weights", "Sharpe", "utility %", "Layer: CLARABEL"]}
"""What the output of an example must contain; examples without an entry need only run."""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    command = [sys.executable, example, "--quick", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    assert (tmp_path / f"{example.stem}.png").stat().st_size > 10_000
    for text in PRINTED.get(example.stem, []):
        assert text in done.stdout


def test_there_are_examples() -> None:
    assert set(PRINTED) <= {example.stem for example in EXAMPLES}
