"""The contestants, one file each."""

from benchmarks.contestant import Contestant
from benchmarks.contestants.cvxpylayers_diffcp import CvxpylayersDiffcp
from benchmarks.contestants.cvxpylayers_moreau import CvxpylayersMoreau
from benchmarks.contestants.optlayers_jax import OptlayersJax
from benchmarks.contestants.optlayers_torch import OptlayersTorch

CONTESTANTS: tuple[Contestant, ...] = (
    OptlayersTorch(None),
    OptlayersTorch("OSQP"),
    OptlayersTorch("SCS"),
    OptlayersTorch("CLARABEL"),
    OptlayersJax(),
    CvxpylayersDiffcp(),
    CvxpylayersMoreau("ipm"),
    CvxpylayersMoreau("auto"),
)
