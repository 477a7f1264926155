"""Packages that only some uses need, and what is said where one of them is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from optlayers.errors import MissingPackageError


@contextmanager
def needed(package: str, purpose: str) -> Iterator[None]:
    """Raise `MissingPackageError` where an import of `package` in the block fails; `purpose` is who needs it."""
    try:
        yield
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != package:
            raise
        raise MissingPackageError(
            f"{purpose} needs the package '{package}', which cannot be imported here ({error}). "
            f"Install it: pip install {package}"
        ) from error
