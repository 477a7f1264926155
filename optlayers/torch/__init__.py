"""PyTorch front-end."""

from optlayers.torch.layers import CvxpyLayer

__all__ = ["CvxpyLayer"]
