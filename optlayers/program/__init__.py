"""Immutable nouns: the cone program, its parametric form, its solution."""

from optlayers.program.affine_map import AffineMap
from optlayers.program.cone_program import ConeProgram
from optlayers.program.parameter import Parameter
from optlayers.program.parametric_program import ParametricProgram
from optlayers.program.pattern import Pattern
from optlayers.program.signature import Output, Signature
from optlayers.program.solution import Point, SolverResult
from optlayers.program.structure import Structure

__all__ = [
    "AffineMap",
    "ConeProgram",
    "Output",
    "Parameter",
    "ParametricProgram",
    "Pattern",
    "Point",
    "Signature",
    "SolverResult",
    "Structure",
]
