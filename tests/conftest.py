"""Run-time checks of shapes and types, and settings that every test shares."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Must stand before the first import of the package: its annotations are checked at run time, in tests only.
hook = install_import_hook("optlayers", "beartype.beartype")

sys.path.insert(0, str(Path(__file__).parent))

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)


@pytest.fixture
def without_checks() -> Iterator[None]:
    """For tests that repeat at length what others run with the checks on."""
    from oracles import unchecked

    with unchecked():
        yield
