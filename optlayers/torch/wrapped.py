"""What has to be asked of PyTorch's transformations and of its compiler, and nothing public tells."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

FunctionType = TypeVar("FunctionType", bound=Callable[..., Any])

_functorch = torch._C._functorch  # noqa: SLF001
_BATCHED = torch._C._dispatch_key_parse("Batched")  # noqa: SLF001


def layers(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensor, what it wraps, and so on to the numbers."""
    yield tensor
    while _functorch.is_functorch_wrapped_tensor(tensor):
        tensor = _functorch.get_unwrapped(tensor)
        yield tensor


def levels(tensor: torch.Tensor) -> set[int]:
    """Those of the transformations that the tensor is in."""
    return {
        _functorch.maybe_get_level(layer) for layer in layers(tensor) if _functorch.is_functorch_wrapped_tensor(layer)
    }


def is_batched(tensor: torch.Tensor) -> bool:
    """Whether the innermost transformation that the tensor is in is a `vmap`."""
    batched: bool = _functorch.is_batchedtensor(tensor)
    return batched


def is_mapped(tensor: torch.Tensor) -> bool:
    """Whether one of them is."""
    return any(is_batched(layer) for layer in layers(tensor))


def numbers(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's numbers, with the axes of `vmap` in front."""
    axes = [_functorch.maybe_get_bdim(layer) for layer in layers(tensor) if is_batched(layer)]
    *_, innermost = layers(tensor)
    with temporarily_clear_interpreter_stack():
        array = innermost.detach().cpu().numpy()
    for axis in reversed(axes):
        array = np.moveaxis(array, axis, 0)
    return array


@contextmanager
def outside_operator() -> Iterator[None]:
    """As where no operator is at work: in one, PyTorch switches differentiation and transformations off. So users'
    functions may differentiate, and what they capture is found by the derivative that it needs."""
    with torch.inference_mode(False), torch._C._ForceDispatchKeyGuard(*_OUTSIDE):  # noqa: SLF001
        yield


def _dispatch_keys() -> tuple[Any, Any]:
    return torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()  # noqa: SLF001


with ThreadPoolExecutor(1) as _pool:  # a new thread has the state that no context has changed
    _OUTSIDE = _pool.submit(_dispatch_keys).result()


def uncompiled(function: FunctionType) -> FunctionType:
    """The function, which `torch.compile` leaves to Python; whole functions with it cannot be compiled."""
    accepted = inspect.signature(torch.compiler.disable).parameters  # `reason` came after version 2.6
    reason = {"reason": UNCOMPILED} if "reason" in accepted else {}
    result: FunctionType = torch.compiler.disable(function, **reason)
    return result


UNCOMPILED = (
    "root, fixed_point and argmin are iterations, which torch.compile leaves to Python. To compile a function whole "
    "(fullgraph=True), call an optlayers.torch.ImplicitLayer or FixedPointLayer in it."
)


def is_batched_the_older_way(tensor: torch.Tensor) -> bool:
    """Whether the `vmap` that is older than `torch.func` maps it: `is_grads_batched`, `torch.autograd.functional`."""
    keys: bool = torch._C._dispatch_keys(tensor).has(_BATCHED)  # noqa: SLF001
    return keys


def is_transformed() -> bool:
    """Whether one of the transformations is running."""
    return _functorch.peek_interpreter_stack() is not None
