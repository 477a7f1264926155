"""Roots, fixed points and stationary points in JAX."""

from __future__ import annotations

from optlayers.implicit import ImplicitFunction, argmin_equation, fixed_point_equation, root_equation
from optlayers.jax.framework import JAX

root = ImplicitFunction(JAX, root_equation, "root")
"""z with F(z, theta) = 0; see `ImplicitFunction`."""

fixed_point = ImplicitFunction(JAX, fixed_point_equation, "fixed_point")
"""z with z = g(z, theta); see `ImplicitFunction`."""

argmin = ImplicitFunction(JAX, argmin_equation, "argmin")
"""z where the gradient of phi(z, theta) by z is 0; see `ImplicitFunction`."""
