"""Forward solvers, one file each, behind one interface."""

from optlayers.solvers.abstract import AbstractSolver
from optlayers.solvers.arguments import Call, read_arguments, try_out
from optlayers.solvers.choice import SOLVERS, Choice, choose
from optlayers.solvers.clarabel import Clarabel
from optlayers.solvers.osqp import OSQP
from optlayers.solvers.scs import SCS

__all__ = [
    "OSQP",
    "SCS",
    "SOLVERS",
    "AbstractSolver",
    "Call",
    "Choice",
    "Clarabel",
    "choose",
    "read_arguments",
    "try_out",
]
