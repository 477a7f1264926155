"""Values that a user's function takes from outside, rather than by its arguments."""

from __future__ import annotations

import torch
import torch.autograd.forward_ad as forward_ad

from optlayers.errors import CaptureError
from optlayers.implicit import Problem, captured
from optlayers.torch.wrapped import layers, levels


def check_captures(problem: Problem, z: torch.Tensor) -> torch.Tensor:
    """F(z, theta), without derivatives.

    Raises `CaptureError` where it has one by anything else than z and theta, or a `vmap` axis that these lack.
    """
    theta = problem.framework.constant(problem.theta)
    with torch.enable_grad():
        residual: torch.Tensor = problem.equation.residual(z.detach(), theta)
    known = levels(z).union(*(levels(leaf) for leaf in theta if isinstance(leaf, torch.Tensor)))
    if any(layer.requires_grad or forward_ad.unpack_dual(layer).tangent is not None for layer in layers(residual)):
        raise CaptureError(captured(problem, "needs a derivative", MODULES))
    if not levels(residual) <= known:
        raise CaptureError(captured(problem, "is mapped by vmap", MODULES))
    return residual.detach()


MODULES = "for a module, dict(module.named_parameters()) and torch.func.functional_call"
