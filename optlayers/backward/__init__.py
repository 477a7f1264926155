"""Backward methods: how the derivative of the solution map is computed."""

from optlayers.backward.abstract import AbstractBackward, Differentiated, Points
from optlayers.backward.batched_dense import BatchedDense
from optlayers.backward.cache import Cache
from optlayers.backward.choice import METHODS, choose_backward
from optlayers.backward.homogeneous import Homogeneous
from optlayers.backward.lsmr import LSMR
from optlayers.backward.minimum_norm import MinimumNorm
from optlayers.backward.second_order import SecondProducts, second_products
from optlayers.backward.smoothed import Smoothed
from optlayers.backward.sparse_direct import SparseDirect

__all__ = [
    "LSMR",
    "METHODS",
    "AbstractBackward",
    "BatchedDense",
    "Cache",
    "Differentiated",
    "Homogeneous",
    "MinimumNorm",
    "Points",
    "SecondProducts",
    "Smoothed",
    "SparseDirect",
    "choose_backward",
    "second_products",
]
