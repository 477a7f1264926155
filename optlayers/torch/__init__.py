"""PyTorch front-end."""

from optlayers.torch.fixed_point_layer import FixedPointLayer
from optlayers.torch.implicit import argmin, fixed_point, root
from optlayers.torch.layers import CvxpyLayer, load

__all__ = ["CvxpyLayer", "FixedPointLayer", "argmin", "fixed_point", "load", "root"]
