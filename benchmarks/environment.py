"""Where a measurement was made."""

from __future__ import annotations

import os
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = "optlayers cvxpy numpy scipy torch jax clarabel osqp scs qdldl cvxpylayers diffcp moreau".split()
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def installed(package: str) -> str | None:
    """The version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe_environment() -> dict[str, str]:
    """Date, machine, cores, threads and the versions of all packages concerned."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {package: installed(package) or "not installed" for package in PACKAGES}
    if versions["optlayers"] == "not installed":
        import optlayers

        versions["optlayers"] = f"{optlayers.__version__} (not installed: this folder)"
    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}, {cores} cores",
        "python": platform.python_version(),
        **{name: os.environ.get(name, "not set") for name in THREADS},
        **versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "processor unknown"
