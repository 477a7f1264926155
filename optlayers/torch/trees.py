"""Trees of tensors for operators, which take lists of tensors and numbers: the tree is known by a number."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from optlayers.errors import ArgumentError

Structure = tuple[Any, ...]
"""("tensor",), ("list", structures), ("tuple", structures), ("dict", keys, structures), or ("fixed", value)."""


def structure_of(tree: Any, tensors: list[torch.Tensor]) -> Structure:
    """The structure of a tree, whose tensors go to the end of the list."""
    if isinstance(tree, torch.Tensor):
        tensors.append(tree)
        return ("tensor",)
    if isinstance(tree, dict):
        return "dict", tuple(tree.keys()), tuple([structure_of(entry, tensors) for entry in tree.values()])
    if type(tree) is list:
        return "list", tuple([structure_of(entry, tensors) for entry in tree])
    if type(tree) is tuple:
        return "tuple", tuple([structure_of(entry, tensors) for entry in tree])
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return "fixed", tree
    raise ArgumentError(
        "in a compiled function, an implicit layer takes tensors, numbers, strings, None, and tuples, lists and dicts "
        f"of them, not {type(tree).__name__}."
    )


def tree_of(structure: Structure, tensors: Iterator[torch.Tensor]) -> Any:
    """The tree with such tensors."""
    kind, *content = structure
    if kind == "tensor":
        return next(tensors)
    if kind == "fixed":
        return content[0]
    entries = [tree_of(entry, tensors) for entry in content[-1]]
    if kind == "dict":
        return dict(zip(content[0], entries, strict=True))
    return entries if kind == "list" else tuple(entries)


def number_of(structures: tuple[Structure, ...]) -> int:
    """The number by which an operator knows structures; a compiler computes it when it meets them."""
    with _lock:
        if structures not in _numbers:
            _numbers[structures] = len(_known)
            _known.append(structures)
        return _numbers[structures]


number_of = torch.compiler.assume_constant_result(number_of)


def trees_of(number: int, lists: Sequence[Sequence[torch.Tensor]]) -> list[Any]:
    """The trees of such structures with the tensors of each."""
    return [tree_of(structure, iter(tensors)) for structure, tensors in zip(_known[number], lists, strict=True)]


_known: list[tuple[Structure, ...]] = []
_numbers: dict[tuple[Structure, ...], int] = {}
_lock = threading.Lock()
