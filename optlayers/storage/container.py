"""The file: a .npz archive of NumPy arrays with one JSON header.

    header.json   format, version, who wrote it, the checksum, and the contents as JSON that refers to the arrays
    0.npy, ...    the arrays

It is a zip archive that `numpy.load(path, allow_pickle=False)` opens too. The checksum covers header and arrays, so
that damage is found before anything is read from them. Equal contents give equal files.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import math
import os
import re
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import numpy.lib.format

from optlayers.errors import StorageError
from optlayers.version import VERSION

StoragePath: TypeAlias = str | os.PathLike[str]

FORMAT = "optlayers layer"
FORMAT_VERSION = 1
"""Raised by one whenever the fields of a stored class, or their meaning, change."""

HEADER = "header.json"

DTYPES = ("<f8", "<i4", "<i8", "|b1")
"""The types of the arrays that a file may hold: numbers only, in the same order of bytes everywhere."""

ARRAY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(?P<dtype>[^']*)', 'fortran_order': False, "
    rb"'shape': \((?P<shape>[0-9, ]*)\), \} *\n",
    re.DOTALL,
)
"""What `numpy.lib.format` writes before an array. NumPy reads it by evaluating a Python literal, which is more than a
stranger's file needs."""

LARGEST_COMPRESSION = 1100
"""Deflate shrinks by a factor of 1032 at most (zlib's technical notes): a member that claims more is not sound, and
nothing is allocated for it."""

DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    ValueError,
    OverflowError,
    RuntimeError,  # encrypted members, deep nesting
    NotImplementedError,
    MemoryError,
    OSError,
)
"""What reading a damaged archive from memory raises."""


@final
@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds: a JSON document, the arrays that it refers to by their places, and the version that wrote
    it."""

    document: Any
    arrays: Sequence[np.ndarray]
    writer: str = VERSION


def write(path: StoragePath, contents: Contents) -> None:
    """Write the file; it appears under its name whole or not at all, also where another was there before.

    Raises `OSError` where the system does, and leaves no part of the file behind.
    """
    arrays = {f"{place}.npy": _array_bytes(array) for place, array in enumerate(contents.arrays)}
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "optlayers": VERSION,
        "saved_with": _versions(),
        "layer": contents.document,
    }
    signed = _json_bytes({**header, "checksum": _checksum(header, arrays)})
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                for name, data in {HEADER: signed, **arrays}.items():
                    entry = zipfile.ZipInfo(name)  # with the same date in every file
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(path: StoragePath) -> Contents:
    """The contents of a file that `write` wrote.

    Raises `FileNotFoundError` where there is none, and `StorageError` for a file of another kind, a damaged one, or
    one of another version of the format. Memory is in proportion to the file's size, whatever it claims.
    """
    data = Path(path).read_bytes()
    with _damage(path):
        if not data.startswith(b"PK"):
            raise StorageError(f"{path} is not a layer that optlayers saved. Give a file that `save` wrote.")
        members = _members(data)
        if HEADER not in members:
            raise StorageError(f"{path} is an archive, but not a layer that optlayers saved: it has no {HEADER}.")
        header = json.loads(members.pop(HEADER))
        _check_version(path, header)
        checksum = header.pop("checksum")
        if checksum != _checksum(header, members):
            raise ValueError("the checksum is not that of the contents")
        arrays = [_array(members[f"{place}.npy"]) for place in range(len(members))]
        return Contents(header["layer"], arrays, str(header["optlayers"]))


@contextmanager
def _damage(path: StoragePath) -> Iterator[None]:
    try:
        yield
    except DAMAGES as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{path} is truncated or damaged: {error}. Copy the file again, or compile and save the layer again."
        ) from error


def _check_version(path: StoragePath, header: Any) -> None:
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise StorageError(f"{path} is an archive, but not a layer that optlayers saved: its {HEADER} says otherwise.")
    version = header.get("format_version")
    if version == FORMAT_VERSION and type(version) is int:
        return
    if type(version) is int and version > FORMAT_VERSION:
        raise StorageError(
            f"{path} was saved by optlayers {header.get('optlayers')} in version {version} of the format; this is "
            f"optlayers {VERSION}, which reads version {FORMAT_VERSION}. Upgrade optlayers here, or compile and save "
            "the layer with this version."
        )
    raise StorageError(
        f"{path} has version {version!r} of the format; optlayers {VERSION} reads version {FORMAT_VERSION}. "
        "Compile and save the layer with this version."
    )


def _members(data: bytes) -> dict[str, bytes]:
    """The members of an archive; none is inflated before its size and the sum of all are known to be possible."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        for entry in entries:
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{entry.filename} is compressed by a method that is not used here")
        if sum(entry.file_size for entry in entries) > LARGEST_COMPRESSION * len(data):
            raise ValueError("its members claim to be larger than they can be")
        if len({entry.filename for entry in entries}) != len(entries):
            raise ValueError("two of its members have one name")
        return {entry.filename: archive.read(entry) for entry in entries}


def _array_bytes(array: np.ndarray) -> bytes:
    ordered = np.ascontiguousarray(array).reshape(array.shape)
    portable = ordered.astype(ordered.dtype.newbyteorder("<"), copy=False)
    if portable.dtype.str not in DTYPES:
        raise StorageError(f"an array of type {array.dtype} cannot be saved; the types are {', '.join(DTYPES)}.")
    stream = io.BytesIO()
    numpy.lib.format.write_array(stream, portable, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def _array(data: bytes) -> np.ndarray:
    """The array of a member; its type and size are checked before anything is allocated."""
    match = ARRAY_HEADER.match(data)
    if match is None or match["dtype"].decode() not in DTYPES:
        raise ValueError("an array is of a type that is not used here")
    dtype, start = np.dtype(match["dtype"].decode()), match.end()
    shape = tuple(int(size) for size in match["shape"].replace(b",", b" ").split())
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ValueError(f"an array of shape {shape} has {len(data) - start} bytes")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).copy()


def _checksum(header: dict[str, Any], arrays: dict[str, bytes]) -> str:
    """Of the header without its checksum, and of the arrays by their names."""
    digest = hashlib.sha256(_json_bytes(header))
    for name in sorted(arrays):
        digest.update(f"{name} {len(arrays[name])}\n".encode())
        digest.update(arrays[name])
    return digest.hexdigest()


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _versions() -> dict[str, str]:
    """The versions of what made the layer, for whoever asks where a file came from; CVXPY's only if it is here."""
    found = {}
    for package in ("numpy", "scipy", "cvxpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
