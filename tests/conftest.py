"""Run-time checks of shapes and types, and settings that every test shares."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Must stand before the first import of the package: its annotations are checked at run time, in tests only.
hook = install_import_hook("optlayers", "beartype.beartype")

sys.path.insert(0, str(Path(__file__).parent))

# Of XLA, for code that runs once: compilation, which takes most of a test's time, is four times as fast.
QUICK_TO_COMPILE = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)
given = os.environ.get("XLA_FLAGS", "").split()
# XLA reads them once, when JAX starts, and so do the processes that tests start. Of a flag given twice the last counts.
os.environ["XLA_FLAGS"] = " ".join([*(flag for flag in QUICK_TO_COMPILE if flag not in given), *given])

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)


@pytest.fixture
def without_checks() -> Iterator[None]:
    """For tests that repeat at length what others run with the checks on."""
    from oracles import unchecked

    with unchecked():
        yield
