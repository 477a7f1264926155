"""JAX front-end."""

from optlayers.jax.layers import CvxpyLayer

__all__ = ["CvxpyLayer"]
