"""Convex cones: their projections and the derivatives of these."""

from optlayers.cones.abstract import AbstractCone, Resolution, Smoothed
from optlayers.cones.congruence import Congruence
from optlayers.cones.derivative import AbstractDerivative, AbstractRotation, Diagonal, Expansion, Rotation
from optlayers.cones.dual import Dual
from optlayers.cones.exponential import Exponential
from optlayers.cones.nonnegative import Nonnegative
from optlayers.cones.power import Power
from optlayers.cones.product import Block, BlockDerivative, Product, Run
from optlayers.cones.second_order import SecondOrder
from optlayers.cones.semidefinite import Semidefinite
from optlayers.cones.zero import Zero

__all__ = [
    "AbstractCone",
    "AbstractDerivative",
    "AbstractRotation",
    "Block",
    "BlockDerivative",
    "Congruence",
    "Diagonal",
    "Dual",
    "Expansion",
    "Exponential",
    "Nonnegative",
    "Power",
    "Product",
    "Resolution",
    "Rotation",
    "Run",
    "SecondOrder",
    "Semidefinite",
    "Smoothed",
    "Zero",
]
