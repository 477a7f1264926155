"""A compiled layer as a file: without CVXPY, without pickle."""

from optlayers.storage.container import StoragePath
from optlayers.storage.layer import load_layer, save_layer

__all__ = ["StoragePath", "load_layer", "save_layer"]
