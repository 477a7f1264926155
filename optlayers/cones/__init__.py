"""Convex cones: one file each, and their product."""

from optlayers.cones.abstract import AbstractCone, Diagonal
from optlayers.cones.nonnegative import Nonnegative
from optlayers.cones.product import Product
from optlayers.cones.zero import Zero

__all__ = ["AbstractCone", "Diagonal", "Nonnegative", "Product", "Zero"]
