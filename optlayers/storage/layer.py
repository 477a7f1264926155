"""A layer as a file."""

from __future__ import annotations

from dataclasses import fields

from optlayers.errors import StorageError
from optlayers.kkt import SymmetricSystem
from optlayers.solution_map import ConeSolutionMap
from optlayers.storage.classes import StoredLayer
from optlayers.storage.container import Contents, StoragePath, read, write
from optlayers.storage.encoding import Decoder, Encoder
from optlayers.version import VERSION


def save_layer(path: StoragePath, solution_map: ConeSolutionMap, solver_reason: str) -> None:
    """Write a layer to the file `path`, which is replaced if it exists; it is never there in part.

    Raises `StorageError` if the layer has a setting that a file cannot hold, `OSError` where the system does.
    """
    layer = StoredLayer(
        solution_map.parametric, solution_map.call, solution_map.refinement, solution_map.backward, solver_reason
    )
    encoder = Encoder()
    try:
        document = encoder.encode(layer)
    except StorageError as error:
        raise StorageError(f"the layer cannot be saved: {error}.") from error
    write(path, Contents(document, encoder.arrays))


def load_layer(path: StoragePath) -> tuple[ConeSolutionMap, str]:
    """The solution map of a file that `save_layer` wrote, and why its solver was taken.

    Raises `FileNotFoundError` where there is no file, `StorageError` for one that is not a layer, is damaged,
    inconsistent or of another version, `MissingPackageError` where the package of its solver is not installed. No code
    of the file is run: it has none.
    """
    contents = read(path)
    try:
        layer = Decoder(contents.arrays).decode(contents.document)
        if not isinstance(layer, StoredLayer):
            raise StorageError("it holds no layer")
    except (StorageError, RecursionError) as error:
        raise StorageError(
            f"{path} cannot be loaded: {error}. It was saved by optlayers {contents.writer}, this is {VERSION}. "
            "Use that version, or compile and save the layer again."
        ) from error
    system = SymmetricSystem(layer.parametric.structure)
    parts = {field.name: getattr(layer, field.name) for field in fields(layer) if field.name != "solver_reason"}
    return ConeSolutionMap(system=system, **parts), layer.solver_reason
