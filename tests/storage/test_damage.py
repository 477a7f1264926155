"""A file that is not what `save` wrote gives a `StorageError`: no crash, no code run, no wrong numbers."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import random
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from problems import family

import optlayers
from optlayers import SCS, CompiledProblem
from optlayers.errors import OptLayersError, StorageError
from optlayers.storage import container
from optlayers.storage.container import FORMAT_VERSION, HEADER, Contents, read, write


@pytest.fixture(scope="module")
def original() -> CompiledProblem:
    """A layer with a cone of most kinds, a matrix parameter, a bound and a pattern."""
    x, X = cp.Variable(3), cp.Variable((2, 2), symmetric=True)
    A, z = cp.Parameter((3, 3), sparsity=[(0, 1, 2, 0), (0, 1, 2, 2)]), cp.Parameter(3, bounds=[-5, 5])
    C = cp.Parameter((2, 2), symmetric=True)
    objective = cp.sum_squares(A @ x - z) + cp.sum(cp.exp(x)) + cp.sum_squares(X - C)
    constraints = [cp.norm(x) <= 1, X >> 0, cp.PowCone3D(x[0] + 2, x[1] + 2, x[2], 0.3), cp.sum(x) == cp.trace(X)]
    return optlayers.compile(cp.Problem(cp.Minimize(objective), constraints), [A, z, C], [x, X])


VALUES = (np.eye(3), np.array([0.5, 0.2, 0.4]), np.array([[1.0, 0.5], [0.5, -1.0]]))


@pytest.fixture
def path(original: CompiledProblem, tmp_path: Path) -> Path:
    original.save(tmp_path / "layer")
    return tmp_path / "layer"


def test_a_file_of_the_first_version(original: CompiledProblem) -> None:
    """It was written when the version of the format was 1 and stands for all such files: where it can no longer be
    read, the classes that it holds have changed, and the version must be raised."""
    kept = Path(__file__).parent / "layer_of_version_1.npz"
    assert FORMAT_VERSION == 1
    for one, other in zip(load(kept).solve(*VALUES).outputs, original.solve(*VALUES).outputs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def load(path: Path) -> CompiledProblem:
    return optlayers.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("data", [b"", b"hello", pickle.dumps([1, 2]), b"\x93NUMPY\x01\x00"])
def test_a_file_of_another_kind(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    with pytest.raises(StorageError, match="is not a layer that optlayers saved"):
        load(path)


def test_another_archive(path: Path) -> None:
    np.savez(path.with_suffix(".npz"), a=np.ones(3))
    with pytest.raises(StorageError, match="an archive, but not a layer"):
        load(path.with_suffix(".npz"))
    path.write_bytes(archive({HEADER: b'{"format": "another"}'}))
    with pytest.raises(StorageError, match="an archive, but not a layer"):
        load(path)


def test_truncated(path: Path) -> None:
    data = path.read_bytes()
    for length in range(2, len(data), 37):
        path.write_bytes(data[:length])
        with pytest.raises(StorageError, match=r"truncated or damaged.*Copy the file again"):
            load(path)


@pytest.mark.usefixtures("without_checks")
def test_flipped_bits(path: Path, original: CompiledProblem) -> None:
    """Each is found, but for the parts of an archive that say nothing of its contents (dates, modes of files)."""
    data = path.read_bytes()
    expected = original.solve(*VALUES).outputs
    for place in range(0, len(data), 31):
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            loaded = load(path)
        except StorageError:
            continue
        for one, other in zip(expected, loaded.solve(*VALUES).outputs, strict=True):
            np.testing.assert_array_equal(one, other)


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return stream.getvalue()


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def resign(path: Path, parts: dict[str, bytes], **changes: object) -> None:
    """Write the members with changes of the header, and with the checksum that they should have."""
    header = {**json.loads(parts[HEADER]), **changes}
    header.pop("checksum", None)
    arrays = {name: data for name, data in parts.items() if name != HEADER}
    header["checksum"] = container._checksum(header, arrays)
    path.write_bytes(archive({HEADER: json.dumps(header).encode(), **arrays}))


def test_the_tools_of_these_tests_make_sound_files(path: Path) -> None:
    resign(path, members(path))
    load(path)


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (FORMAT_VERSION + 1, f"saved by optlayers 9.9 in version {FORMAT_VERSION + 1} .* Upgrade optlayers"),
        (0, "version 0 of the format"),
        (True, "version True of the format"),
        ("1", "version '1' of the format"),
        (None, "version None of the format"),
    ],
)
def test_another_version(version: object, text: str, path: Path) -> None:
    resign(path, members(path), format_version=version, optlayers="9.9", layer={"unknown": 1})
    with pytest.raises(StorageError, match=text):
        load(path)


def test_a_changed_header(path: Path) -> None:
    parts = members(path)
    header = json.loads(parts[HEADER])
    header["layer"]["fields"]["solver_reason"] = "another"
    path.write_bytes(archive({**parts, HEADER: json.dumps(header).encode()}))
    with pytest.raises(StorageError, match="checksum"):
        load(path)


@pytest.mark.parametrize("header", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"format": "optlayers layer"}'])
def test_a_broken_header(header: bytes, path: Path) -> None:
    path.write_bytes(archive({**members(path), HEADER: header}))
    with pytest.raises(StorageError):
        load(path)


def test_missing_and_additional_arrays(path: Path) -> None:
    parts = members(path)
    resign(path, {name: data for name, data in parts.items() if name != "0.npy"})
    with pytest.raises(StorageError):
        load(path)
    resign(path, {**parts, "stranger.npy": parts["0.npy"]})
    with pytest.raises(StorageError):
        load(path)


class Malicious:
    """Pickled, it makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_pickled_objects_are_not_read(path: Path) -> None:
    folder = path.with_name("made")
    stream = io.BytesIO()
    np.save(stream, np.array([Malicious(folder)], dtype=object), allow_pickle=True)
    resign(path, {**members(path), "0.npy": stream.getvalue()})
    with pytest.raises(StorageError, match="of a type that is not used"):
        load(path)
    assert not folder.exists()


HUGE = ("(1000000000000,)", "(-1,)", "(2, -1)", "(4611686018427387904, 4)", "(1.5,)", "3", "(" * 90, "(" + "9" * 9999)


@pytest.mark.parametrize("shape", HUGE, ids=lambda shape: shape[:24])
def test_arrays_that_claim_another_size(shape: str, path: Path) -> None:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(16)
    resign(path, {**members(path), "0.npy": data})
    with little_memory(), pytest.raises(StorageError, match="damaged"):
        load(path)


def test_a_member_that_claims_another_size(path: Path) -> None:
    data = path.read_bytes()
    entry = data.index(b"PK\x01\x02")
    path.write_bytes(data[: entry + 24] + (2**32 - 2).to_bytes(4, "little") + data[entry + 28 :])
    with little_memory(), pytest.raises(StorageError, match="larger than they can be"):
        load(path)


class little_memory:
    """Fails where more than 20 MB are allocated."""

    def __enter__(self) -> None:
        tracemalloc.start()

    def __exit__(self, *_: object) -> None:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20e6


Change = Callable[[dict[str, Any], list[np.ndarray]], None]


def change(path: Path, function: Change) -> None:
    """Change document and arrays of a file, with a checksum as it should be."""
    contents = read(path)
    document, arrays = copy.deepcopy(contents.document), list(contents.arrays)
    function(document["fields"], arrays)
    write(path, Contents(document, arrays))


def at(fields: dict[str, Any], place: str) -> dict[str, Any]:
    """The fields of the object at a place."""
    for name in place.split("."):
        fields = fields[name]["fields"]
    return fields


def replace_array(place: str, name: str, function: Callable[[np.ndarray], np.ndarray]) -> Change:
    def changed(fields: dict[str, Any], arrays: list[np.ndarray]) -> None:
        number = at(fields, place)[name]["array"]
        arrays[number] = function(arrays[number])

    return changed


def put(place: str, name: str, value: object) -> Change:
    return lambda fields, _: at(fields, place).__setitem__(name, value)


def entry(array: np.ndarray, place: int, value: float) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


STRUCTURE, DATA = "parametric.structure", "parametric.data"
ZEROS = {"class": "cone Zero", "fields": {"count": 10**12}}

CHANGES: dict[str, tuple[Change, str]] = {
    "row beyond": (replace_array(f"{STRUCTURE}.A", "rows", lambda a: entry(a, -1, 10**6)), "indices from 0"),
    "row below": (replace_array(f"{STRUCTURE}.A", "rows", lambda a: entry(a, 0, -1)), "indices from 0"),
    "row twice": (replace_array(f"{STRUCTURE}.A", "rows", np.zeros_like), "ascend within a column"),
    "ends descend": (replace_array(f"{STRUCTURE}.A", "indptr", lambda a: entry(a, 1, 10**6)), "ascending indptr"),
    "ends beyond": (replace_array(f"{STRUCTURE}.A", "indptr", lambda a: entry(a, -1, 10**6)), "indptr from 0"),
    "no ends": (replace_array(f"{STRUCTURE}.A", "indptr", lambda a: a[:0]), "indptr of length"),
    "index beyond": (replace_array(f"{DATA}.matrix", "indices", lambda a: entry(a, 3, 10**6)), "indices from 0"),
    "index below": (replace_array(f"{DATA}.matrix", "indices", lambda a: entry(a, 3, -5)), "indices from 0"),
    "ends of a map": (replace_array(f"{DATA}.matrix", "indptr", lambda a: entry(a, 2, -9)), "ascending indptr"),
    "too few entries": (replace_array(f"{DATA}.matrix", "data", lambda a: a[1:]), "one index for each entry|nnz"),
    "another dtype": (replace_array(f"{DATA}.matrix", "data", lambda a: a.astype(np.int64)), "is of type ndarray"),
    "another rank": (replace_array(DATA, "offset", lambda a: a[None]), "offset is of type ndarray"),
    "offset too short": (replace_array(DATA, "offset", lambda a: a[1:]), "one entry for each row"),
    "64-bit pattern": (replace_array(f"{STRUCTURE}.A", "rows", lambda a: a.astype(np.int64)), "is of type ndarray"),
    "map too wide": (put(f"{DATA}.matrix", "shape", [97, 10**6]), "is expected"),
    "huge shape": (put(f"{DATA}.matrix", "shape", [2**62, 2**62]), "is expected"),
    "lower triangle": (
        lambda fields, _: at(fields, STRUCTURE).__setitem__("P", at(fields, STRUCTURE)["A"]),
        "P of shape|upper triangle",
    ),
    "cones too many": (lambda fields, _: at(fields, f"{STRUCTURE}.cones")["factors"].append(ZEROS), "size of at most"),
    "cones too few": (lambda fields, _: at(fields, f"{STRUCTURE}.cones")["factors"].pop(), "cones of"),
    "endless run": (
        put(f"{STRUCTURE}.cones", "factors", [{"repeat": 10**12, "item": ZEROS}]),
        "repeats an item",
    ),
    "many runs": (
        put(f"{STRUCTURE}.cones", "factors", [{"repeat": 2**15, "item": []}] * 3),
        "repeats an item",
    ),
    "run of none": (put(f"{STRUCTURE}.cones", "factors", [{"repeat": 0, "item": ZEROS}]), "none of the forms"),
    "negative cone": (
        put(f"{STRUCTURE}.cones", "factors", [{"class": "cone Semidefinite", "fields": {"order": -3}}]),
        "sizes of at least 1",
    ),
    "exponents": (
        put(f"{STRUCTURE}.cones", "factors", [{"class": "cone Power", "fields": {"exponents": [0.5, 0.6]}}]),
        "sum to one",
    ),
    "not a cone": (put(f"{STRUCTURE}.cones", "factors", [1]), "factors is of type tuple"),
    "unknown cone": (
        put(f"{STRUCTURE}.cones", "factors", [{"class": "cone Spherical", "fields": {}}]),
        "'cone Spherical', which this version of optlayers does not know",
    ),
    "unknown class": (put("call", "solver", {"class": "os.system", "fields": {"command": "true"}}), "does not know"),
    "unhashable class": (put("call", "solver", {"class": [], "fields": {}}), "does not know"),
    "additional field": (put("call", "extra", 1), "has the fields"),
    "missing field": (lambda fields, _: at(fields, "call").pop("direct"), "has the fields"),
    "missing class": (put("call", "solver", {"fields": {}}), "none of the forms"),
    "unknown form": (put("call", "solver", {"pickle": "..."}), "none of the forms"),
    "null": (put("call", "solver", None), "solver is of type NoneType"),
    "word for a number": (put("call.solver", "accuracy", "1e-8"), "accuracy is of type str"),
    "bool for a number": (put("call.solver", "max_iterations", True), "max_iterations is of type bool"),
    "negative accuracy": (put("call.solver", "accuracy", -1.0), "accuracy must be a positive number"),
    "no accuracy": (put("call.solver", "accuracy", {"float": "nan"}), "accuracy must be a positive number"),
    "another float": (put("call.solver", "accuracy", {"float": "1e-8"}), "none of the forms"),
    "unknown option": (put("call.solver", "options", {"mapping": {"frobnicate": 1}}), "has no option 'frobnicate'"),
    "unfit option": (put("call.solver", "options", {"mapping": {"max_iter": "x"}}), "does not take the options"),
    "no threads": (put("call", "forward_threads", 0), "a thread is expected"),
    "endless refinement": (put("refinement", "tolerance", {"float": "inf"}), "positive numbers"),
    "no tolerance": (put("backward", "tolerance", 0.0), "tolerance must be a positive number"),
    "array from nowhere": (put(DATA, "offset", {"array": 999}), "none of the forms"),
    "array of the end": (put(DATA, "offset", {"array": -1}), "none of the forms"),
    "another root": (lambda fields, _: fields.clear(), "has the fields"),
    "another solver": (
        put(
            "call",
            "solver",
            {
                "class": "solver OSQP",
                "fields": {
                    "accuracy": 1e-5,
                    "max_iterations": 10,
                    "verbose": False,
                    "options": {"mapping": {}},
                    "certificate_accuracy": 1e-8,
                },
            },
        ),
        "OSQP cannot solve this problem",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_inconsistent_contents(name: str, path: Path) -> None:
    function, text = CHANGES[name]
    change(path, function)
    with little_memory(), pytest.raises(StorageError, match=text):
        load(path)


def test_deep_nesting(path: Path) -> None:
    cone: dict[str, Any] = {"class": "cone Exponential", "fields": {}}
    for _ in range(300):
        cone = {"class": "cone Dual", "fields": {"cone": cone}}
    change(path, put(f"{STRUCTURE}.cones", "factors", [cone]))
    with pytest.raises(StorageError):
        load(path)


def test_a_file_makes_no_solver_write_files(tmp_path: Path) -> None:
    instance = family("lasso").build(np.random.default_rng(0), 3)
    compiled = optlayers.compile(instance.problem, instance.parameters, instance.outputs, solver=SCS())
    compiled.save(tmp_path / "layer")
    target = tmp_path / "written"
    change(tmp_path / "layer", put("call.solver", "options", {"mapping": {"log_csv_filename": str(target)}}))
    with pytest.raises(StorageError, match=r"names a file to write \(log_csv_filename\)"):
        load(tmp_path / "layer")
    assert not target.exists()


def test_rules_of_another_shape(path: Path) -> None:
    def narrowed(fields: dict[str, Any], arrays: list[np.ndarray]) -> None:
        parameters = at(fields, "parametric.signature")["parameters"]
        for parameter in parameters:
            for rule in parameter["fields"]["rules"]:
                if rule["class"] == "rule Bounds":
                    place = rule["fields"]["lower"]["array"]
                    arrays[place] = arrays[place][:1]

    change(path, narrowed)
    with pytest.raises(StorageError, match=r"bounds of shape|Bounds"):
        load(path)


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """The containers and keys of all parts of a document."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from leaves(value[key])


def test_any_part_replaced_by_anything(path: Path) -> None:
    """The file is refused, or it makes a layer that solves or says why it does not."""
    contents = read(path)
    draw = random.Random(0)
    others: list[Any] = [None, True, 0, -1, 3, 2**40, 0.5, 1e300, "x", [], [1, 2], {}, {"array": 0}, {"float": "nan"}]
    refused = 0
    for _ in range(60):
        document = copy.deepcopy(contents.document)
        container_of, key = draw.choice(list(leaves(document)))
        container_of[key] = draw.choice(others)
        write(path, Contents(document, contents.arrays))
        try:
            load(path).solve(*VALUES)
        except StorageError:
            refused += 1
        except OptLayersError:
            pass
    assert refused > 40


def test_a_write_that_fails_leaves_the_old_file(
    path: Path, original: CompiledProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        original.save(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_file_appears_whole(path: Path, original: CompiledProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the name is given to the new file, everything has been written to it."""
    seen = []
    rename = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append(read(self).document)
        assert self.parent == target.parent
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    original.save(path)
    assert seen == [read(path).document]


def test_no_folder(original: CompiledProblem, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        original.save(tmp_path / "nowhere" / "layer")
