"""Every example runs, warns of nothing, prints its numbers and draws its picture."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
PRINTED = {
    "portfolio": ["two-stage", "decision-focused", "equal weights", "Sharpe", "utility %", "Layer: CLARABEL"],
    "deep_equilibrium": ["spectral radius", "unsolved 0", "kept for the backward pass"],
    "distributed_torch": ["processes: 2", "epoch 2: regret"],
    "hyperparameters": ["ridge regression: 442", "logistic regression: 569", "one each, by gradient"],
    "mpc_scan": ["step 2: cost", "horizon 20:", "compiled loop", "difference"],
    "power_flow": [
        "the nose: 4.060253",
        "SingularWarning: the derivative of root is not reliable",
        "ConvergenceError: root was not solved by Newton",
        "batch index (1,)",
        "batch index (3,)",
        "on_failure='nan': 1.0177, nan, 0.9732, nan",
    ],
    "sharded_jax": ["shard_map, 8 devices", "step 3: loss", "in truth"],
}
"""What the output of an example must contain; examples without an entry need only run."""

DRAWING = {"portfolio"}
"""The examples that draw a picture, into the folder that they are given."""

LAUNCHERS = {"distributed_torch": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]}
"""What starts an example, where it is not Python alone."""


def numbers(pattern: str, text: str) -> list[float]:
    """What the group of the pattern matches, wherever it does."""
    found = [float(number.replace(",", "")) for number in re.findall(pattern, text, re.MULTILINE)]
    assert found, pattern
    return found


def check_deep_equilibrium(printed: str) -> None:
    assert min(numbers(r"^test accuracy ([\d.]+) %", printed)) > 90
    assert not any(numbers(r"^ +\d+ .* (\d+)$", printed)), "elements were not solved"
    few, many = numbers(r"^implicit +[\d,]+ +([\d,]+) KiB", printed)
    assert few == many
    few, many = numbers(r"^unrolled +[\d,]+ +([\d,]+) KiB", printed)
    assert many > 5 * few


def check_hyperparameters(printed: str) -> None:
    assert len(errors := numbers(r"central differences (\S+?),?(?: |$)", printed)) == 2
    assert max(errors) < 1e-6
    assert numbers(r"closed form (\S+)", printed)[0] < 1e-10
    by_grid, by_gradient = (numbers(rf"^one.*, by {way} +([\d.]+)", printed) for way in ("grid", "gradient"))
    assert all(tuned < best for tuned, best in zip(by_gradient, by_grid, strict=True)), "validation loss"


def check_power_flow(printed: str) -> None:
    assert numbers(r"^resistances: errors of ([\d.]+) %", printed)[0] < 2
    assert numbers(r"^reactances: errors of ([\d.]+) %", printed)[0] < 0.5
    assert numbers(r"central differences: (\S+)", printed)[0] < 1e-6
    assert re.search(r"^nose .* INACCURATE$", printed, re.MULTILINE)


CHECKS: dict[str, Callable[[str], None]] = {
    "deep_equilibrium": check_deep_equilibrium,
    "hyperparameters": check_hyperparameters,
    "power_flow": check_power_flow,
}
"""What its figures must be."""


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
    if example.stem in CHECKS:
        CHECKS[example.stem](done.stdout)


def test_there_are_examples() -> None:
    assert set(PRINTED) | set(CHECKS) | DRAWING | set(LAUNCHERS) <= {example.stem for example in EXAMPLES}
