"""Every Python block of the README and the documents runs, the blocks of one document one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_code_blocks_run(path: Path) -> None:
    namespace: dict[str, object] = {}
    dtype = torch.get_default_dtype()
    try:
        for block in re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.MULTILINE | re.DOTALL):
            exec(compile(block, str(path), "exec"), namespace)
    finally:
        torch.set_default_dtype(dtype)


def test_the_readme_has_blocks_to_run() -> None:
    assert (ROOT / "README.md").read_text().count("```python") >= 5


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{path.name}: {target}"
