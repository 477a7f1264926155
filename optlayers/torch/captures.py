"""Values that a user's function takes from outside, rather than by its arguments."""

from __future__ import annotations

from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad

from optlayers.errors import CaptureError
from optlayers.implicit import Problem, captured
from optlayers.torch.wrapped import is_batched, layers, levels


def check_captures(problem: Problem, z: torch.Tensor) -> torch.Tensor:
    """F(z, theta), without derivatives.

    Raises `CaptureError` where it has one by anything else than z and theta, unless gradients are switched off, or a
    `vmap` axis that these lack.
    """
    theta = problem.framework.constant(problem.theta)
    residual: torch.Tensor = problem.equation.residual(z.detach(), theta)
    known = levels(z).union(*(levels(leaf) for leaf in theta if isinstance(leaf, torch.Tensor)))

    def is_unknown(value: Any) -> bool:
        return isinstance(value, torch.Tensor) and not levels(value) <= known

    if _needs_derivative(residual):
        raise CaptureError(captured(problem, "needs a derivative", MODULES, _needs_derivative))
    if is_unknown(residual):
        raise CaptureError(captured(problem, "is mapped by vmap", MODULES, is_unknown))
    return residual.detach()


def _needs_derivative(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and any(
        layer.requires_grad or (not is_batched(layer) and forward_ad.unpack_dual(layer).tangent is not None)
        for layer in layers(value)
    )


MODULES = "for a module, dict(module.named_parameters()) and torch.func.functional_call"
