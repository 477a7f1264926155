"""JAX front-end."""

from optlayers.jax.layers import CvxpyLayer, load

__all__ = ["CvxpyLayer", "load"]
