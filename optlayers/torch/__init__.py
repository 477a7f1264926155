"""PyTorch front-end."""

from optlayers.torch.layers import CvxpyLayer, load

__all__ = ["CvxpyLayer", "load"]
