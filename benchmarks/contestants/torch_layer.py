"""A torch module behind the benchmark's contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import numpy as np

from benchmarks.contestant import Pullback, Values

if TYPE_CHECKING:
    import torch


@final
class TorchLayer:
    """Forward with gradients recorded for every parameter; the pullback is torch's backward pass."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module

    def __call__(self, values: Values) -> tuple[Values, Pullback]:
        import torch

        arguments = [torch.from_numpy(value).requires_grad_() for value in values]
        outputs = self._module(*arguments)

        def pullback(cotangents: Values) -> Values:
            gradients = torch.autograd.grad(
                outputs, arguments, [torch.from_numpy(cotangent) for cotangent in cotangents], allow_unused=True
            )
            return tuple(
                np.zeros(value.shape) if gradient is None else gradient.numpy()
                for value, gradient in zip(values, gradients, strict=True)
            )

        return tuple(output.detach().numpy() for output in outputs), pullback
