"""The rooms: imports go downwards only, and each third-party package has one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import optlayers

ROOT = Path(optlayers.__file__).parent

FRONT_END = {
    "arrays",
    "backward",
    "construction",
    "errors",
    "implicit",
    "problem_types",
    "program",
    "solution_map",
    "solvers",
    "storage",
}

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "arrays": set(),
    "batch_axes": set(),
    "parallel": set(),
    "user_warning": {"errors"},
    "version": set(),
    "packages": {"errors"},
    "cones": {"arrays"},
    "program": {"arrays", "cones", "errors"},
    "compiler": {"arrays", "cones", "errors", "program"},
    "problem_types": {"compiler"},
    "solvers": {"arrays", "cones", "errors", "packages", "parallel", "program"},
    "kkt": {"arrays", "cones", "errors", "program"},
    "backward": {"arrays", "errors", "kkt", "parallel", "program"},
    "exact_solve": {"errors", "program", "kkt", "solvers"},
    "solution_map": {
        "arrays",
        "backward",
        "batch_axes",
        "errors",
        "exact_solve",
        "kkt",
        "parallel",
        "program",
        "solvers",
        "user_warning",
    },
    "implicit": {"errors", "user_warning"},
    "storage": {"backward", "cones", "errors", "kkt", "program", "solution_map", "solvers", "version"},
    "construction": {
        "backward",
        "compiler",
        "errors",
        "kkt",
        "packages",
        "problem_types",
        "solution_map",
        "solvers",
        "user_warning",
    },
    "compiled": {
        "arrays",
        "backward",
        "construction",
        "errors",
        "exact_solve",
        "kkt",
        "problem_types",
        "solution_map",
        "solvers",
        "storage",
    },
    "torch": FRONT_END,
    "jax": FRONT_END,
    "__init__": {"backward", "compiled", "errors", "solvers", "version"},
}
"""For each room (a folder or a file of the package), the rooms that it may import."""

HOME = {
    "cvxpy": {"compiler"},
    "torch": {"torch"},
    "jax": {"jax"},
    "osqp": {"solvers/osqp.py"},
    "scs": {"solvers/scs.py"},
    "clarabel": {"solvers/clarabel.py"},
    "qdldl": {"kkt/ldl.py"},
}
"""For each third-party package, the only place that may import it."""


def imports(path: Path) -> set[str]:
    """The modules that a file imports, by their dotted names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


files = pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))


@files
def test_rooms_import_downwards_only(path: Path) -> None:
    own = room(path)
    used = {name.split(".")[1] for name in imports(path) if name.startswith("optlayers.")} - {own}
    assert used <= MAY_IMPORT[own], f"{own} imports {used - MAY_IMPORT[own]}"


@files
def test_each_package_has_one_home(path: Path) -> None:
    packages = {name.split(".")[0] for name in imports(path)}
    for package in packages & HOME.keys():
        relative = str(path.relative_to(ROOT))
        assert relative in HOME[package] or room(path) in HOME[package], f"{relative} imports {package}"


def test_the_rooms_form_no_cycle() -> None:
    order: list[str] = []
    waiting = dict(MAY_IMPORT)
    while waiting:
        ready = [name for name, below in waiting.items() if below <= set(order)]
        assert ready, f"cycle among {sorted(waiting)}"
        order += ready
        for name in ready:
            del waiting[name]


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("optlayers", ("torch", "jax", "cvxpy", "osqp", "scs", "clarabel")),
        ("optlayers.torch", ("jax", "cvxpy")),
        ("optlayers.jax", ("torch", "cvxpy")),
    ],
)
def test_the_package_imports_without(imported: str, absent: tuple[str, ...]) -> None:
    code = f"""
import sys

class Absent:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())
import {imported}
"""
    subprocess.run([sys.executable, "-c", code], check=True)
