"""Immutable objects as JSON and arrays, and back.

    None, bool, int, str, finite float   themselves
    inf, -inf, nan                       {"float": "inf"}
    tuple                                [...], where {"repeat": count, "item": item} stands for a run of equal items
    mapping                              {"mapping": {name: value}}
    array                                {"array": place among the arrays}
    SciPy CSR matrix, object             {"class": name, "fields": {field: value}}

Only objects of the classes in `storage.classes` are written and constructed, and only from fields that are exactly
those of the class, of their declared types, and consistent (`storage.checks`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import scipy.sparse as sp

from optlayers.errors import MissingPackageError, OptLayersError, StorageError
from optlayers.storage.checks import check
from optlayers.storage.classes import CLASSES, NAMES, CSRMatrix
from optlayers.storage.types import conforms, field_types

REPEATED = 2**16
"""Most items that the runs of a file may stand for beside one for each number in its arrays: a cone has a row, and a
row a number. So the memory of a loaded layer is in proportion to the file's arrays."""


@final
@dataclass
class Encoder:
    """Encodes objects; `arrays` grows by those that are met."""

    arrays: list[np.ndarray] = field(default_factory=list)

    def encode(self, value: object, where: str = "layer") -> Any:
        """The value as JSON. Raises `StorageError` with its place for a value that a file cannot hold."""
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, tuple):
            return _shortened([self.encode(item, f"{where}[{place}]") for place, item in enumerate(value)])
        if isinstance(value, Mapping):
            return {"mapping": {str(name): self.encode(item, f"{where}[{name!r}]") for name, item in value.items()}}
        if isinstance(value, np.ndarray):
            self.arrays.append(value)
            return {"array": len(self.arrays) - 1}
        if isinstance(value, sp.csr_matrix):
            value = CSRMatrix.of(value)
        return self._encode_object(value, where)

    def _encode_object(self, value: object, where: str) -> Any:
        cls: Any = type(value)
        if cls not in NAMES:
            raise StorageError(
                f"{where} is a {type(value).__name__}, which a file cannot hold; it holds numbers, words, arrays, "
                "and objects of optlayers' own classes"
            )
        parts = {name: getattr(value, name) for name in field_types(cls)}
        _check_fields(cls, parts, where)
        encoded = {name: self.encode(part, f"{where}.{name}") for name, part in parts.items()}
        with _consistent(NAMES[cls], where):
            check(value)
        return {"class": NAMES[cls], "fields": encoded}


@final
@dataclass
class Decoder:
    """Decodes what an `Encoder` made, with the arrays that it collected; `repeated` counts the items that runs stand
    for."""

    arrays: Sequence[np.ndarray]
    repeated: int = 0

    def decode(self, encoded: Any, where: str = "layer") -> Any:
        """The value of the JSON. Raises `StorageError` with its place for what no `Encoder` makes and what is
        inconsistent; `MissingPackageError` for a solver whose package is not installed."""
        if isinstance(encoded, list):
            return tuple(
                itertools.chain.from_iterable(
                    self._decode_item(item, f"{where}[{place}]") for place, item in enumerate(encoded)
                )
            )
        if not isinstance(encoded, dict):
            return encoded
        match encoded:
            case {"class": name, "fields": dict(parts), **rest} if not rest:
                return self._decode_object(name, parts, where)
            case {"array": int(place), **rest} if not rest and 0 <= place < len(self.arrays):
                return self.arrays[place]
            case {"mapping": dict(items), **rest} if not rest:
                return {name: self.decode(item, f"{where}[{name!r}]") for name, item in items.items()}
            case {"float": "inf" | "-inf" | "nan" as word, **rest} if not rest:
                return float(word)
        raise StorageError(f"{where} is none of the forms that a saved layer has")

    def _decode_item(self, encoded: Any, where: str) -> Sequence[Any]:
        match encoded:
            case {"repeat": int(count), "item": item, **rest} if not rest and count >= 1:
                self.repeated += count
                if self.repeated > REPEATED + sum(array.size for array in self.arrays):
                    raise StorageError(f"{where} repeats an item {count} times, more than a layer does")
                return [self.decode(item, where)] * count
        return [self.decode(encoded, where)]

    def _decode_object(self, name: object, encoded: dict[str, Any], where: str) -> Any:
        if not (isinstance(name, str) and name in CLASSES):
            raise StorageError(f"{where} is a {name!r}, which this version of optlayers does not know")
        cls = CLASSES[name]
        if encoded.keys() != field_types(cls).keys():
            raise StorageError(
                f"{where}, a {name}, has the fields {', '.join(sorted(encoded))}; "
                f"expected are {', '.join(sorted(field_types(cls)))}"
            )
        parts = {part: self.decode(value, f"{where}.{part}") for part, value in encoded.items()}
        _check_fields(cls, parts, where)
        with _consistent(name, where):
            built = cls(**parts)
            check(built)
        return built.matrix() if isinstance(built, CSRMatrix) else built


@contextmanager
def _consistent(name: str, where: str) -> Iterator[None]:
    try:
        yield
    except MissingPackageError:
        raise
    except (OptLayersError, ValueError, TypeError, ArithmeticError) as error:
        raise StorageError(f"{where}, a {name}, is inconsistent: {error}") from error


def _check_fields(cls: type, parts: Mapping[str, object], where: str) -> None:
    for name, declared in field_types(cls).items():
        value = parts[name]
        if not conforms(value.item() if isinstance(value, np.generic) else value, declared):
            raise StorageError(f"{where}.{name} is of type {type(value).__name__}; {declared} is expected")


def _shortened(items: list[Any]) -> list[Any]:
    """The items with each run of equal ones written once; arrays are never equal, each has its own place."""
    shortened: list[Any] = []
    for _, equal in itertools.groupby(items, key=_Key):
        run = list(equal)
        shortened.append(run[0] if len(run) == 1 else {"repeat": len(run), "item": run[0]})
    return shortened


@final
@dataclass(frozen=True)
class _Key:
    """Equality of encoded items to the bit: 1, 1.0 and True are three things, as are 0.0 and -0.0."""

    item: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.item == other.item and repr(self.item) == repr(other.item)
