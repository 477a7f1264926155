"""JAX front-end."""

from optlayers.jax.fixed_point_layer import FixedPointLayer
from optlayers.jax.implicit import argmin, fixed_point, root
from optlayers.jax.layers import CvxpyLayer, load

__all__ = ["CvxpyLayer", "FixedPointLayer", "argmin", "fixed_point", "load", "root"]
