"""PyTorch front-end."""

from optlayers.torch.implicit import argmin, fixed_point, root
from optlayers.torch.implicit_layers import FixedPointLayer, ImplicitLayer
from optlayers.torch.layers import CvxpyLayer, load

__all__ = ["CvxpyLayer", "FixedPointLayer", "ImplicitLayer", "argmin", "fixed_point", "load", "root"]
