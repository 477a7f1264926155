"""What PyTorch leaves to the rules of an autograd Function: its older `vmap`, autocast, and nested forward mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad

from optlayers.errors import DerivativeError
from optlayers.torch.handles import Handles
from optlayers.torch.precision import full_precision
from optlayers.torch.wrapped import is_batched_the_older_way, outside_operator

Rule = Callable[..., Any]


def reverse_rule(backward: Rule) -> Rule:
    """A Function's `backward`: computed without autocast, once for each cotangent of a batch of the older `vmap`'s."""

    @wraps(backward)
    def rule(ctx: Any, g: torch.Tensor, *unused: Any) -> Any:
        with full_precision(g.device):
            if is_batched_the_older_way(g):
                return _one_by_one(lambda g: backward(ctx, g), [g])
            return backward(ctx, g)

    return rule


def forward_rule(jvp: Rule) -> Rule:
    """A Function's `jvp`, of what is saved and of tangents.

    PyTorch switches forward mode off in it, at all levels, by which outer levels would lose their tangents without a
    word. What is saved must be taken by `primal`, so that the level at hand sees no tangents of its own.
    """

    @wraps(jvp)
    def rule(ctx: Any, *tangents: Any) -> Any:
        with forward_ad._set_fwd_grad_enabled(True):  # noqa: SLF001  (nothing public switches it)
            if any(isinstance(tangent, torch.Tensor) and is_batched_the_older_way(tangent) for tangent in tangents):
                return _one_by_one(lambda *tangents: jvp(ctx, *tangents), tangents)
            return jvp(ctx, *tangents)

    return rule


def primal(value: torch.Tensor) -> torch.Tensor:
    """The value without tangents of the innermost level of forward mode."""
    without: torch.Tensor = forward_ad.unpack_dual(value).primal
    return without


def _one_by_one(rule: Rule, arguments: Sequence[Any]) -> Any:
    """A rule for batches of the older `vmap`'s, which loops over operators: it has no other transformations inside."""
    if torch.is_grad_enabled() and forward_ad._current_level < 0:  # noqa: SLF001
        raise DerivativeError(
            "is_grads_batched=True, and vectorize=True, with create_graph=True do not work for implicit layers: "
            "take torch.func.vmap, jacrev or hessian."
        )
    given = [place for place, value in enumerate(arguments) if isinstance(value, torch.Tensor)]
    shapes = [arguments[place].shape for place in given]
    results: list[Any] = []

    def flat(vector: torch.Tensor) -> torch.Tensor:
        complete = list(arguments)
        for place, part in zip(given, _parts(vector, shapes), strict=True):
            complete[place] = part
        computed = rule(*complete)
        results[:] = computed if isinstance(computed, tuple) else (computed,)
        tensors = [value.reshape(-1) for value in results if isinstance(value, torch.Tensor)]
        return torch.cat(tensors) if tensors else vector.new_empty(0)

    found = _call(torch.cat([arguments[place].reshape(-1) for place in given]), _RULES.of(flat))
    parts = iter(_parts(found, [value.shape for value in results if isinstance(value, torch.Tensor)]))
    complete = tuple(next(parts) if isinstance(value, torch.Tensor) else value for value in results)
    return complete if len(complete) > 1 else complete[0]


def _parts(vector: torch.Tensor, shapes: Sequence[torch.Size]) -> list[torch.Tensor]:
    ends = torch.tensor([0, *(shape.numel() for shape in shapes)]).cumsum(0).tolist()
    return [vector[start:stop].reshape(shape) for start, stop, shape in zip(ends[:-1], ends[1:], shapes, strict=True)]


_RULES: Handles[Any] = Handles("do not export it")


@torch.library.custom_op("optlayers::implicit_rule", mutates_args=(), schema="(Tensor vector, int rule) -> Tensor")
def _call(vector: torch.Tensor, rule: int) -> torch.Tensor:
    with outside_operator(), torch.no_grad():
        result: torch.Tensor = _RULES.find(rule)(vector)
    return result.clone()
