"""Every example runs, warns of nothing, prints its numbers and draws its picture."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
PRINTED = {
    "portfolio": ["two-stage", "decision-focused", "equal weights", "Sharpe", "utility %", "Layer: CLARABEL"],
    "distributed_torch": ["processes: 2", "epoch 2: regret"],
    "mpc_scan": ["step 2: cost", "horizon 20:", "compiled loop", "difference"],
    "sharded_jax": ["shard_map, 8 devices", "step 3: loss", "in truth"],
}
"""What the output of an example must contain; examples without an entry need only run."""

DRAWING = {"portfolio"}
"""The examples that draw a picture, into the folder that they are given."""

LAUNCHERS = {"distributed_torch": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]}
"""What starts an example, where it is not Python alone."""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    draws = example.stem in DRAWING
    options = ["--quick", *(["--output", str(tmp_path)] if draws else [])]
    command = [sys.executable, *LAUNCHERS.get(example.stem, []), str(example), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    assert not draws or (tmp_path / f"{example.stem}.png").stat().st_size > 10_000
    for text in PRINTED.get(example.stem, []):
        assert text in done.stdout


def test_there_are_examples() -> None:
    assert set(PRINTED) | DRAWING | set(LAUNCHERS) <= {example.stem for example in EXAMPLES}
