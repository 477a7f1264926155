"""A cone program with parameters: what the compiler makes and everything else works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from optlayers.program.affine_map import AffineMap
from optlayers.program.signature import Signature
from optlayers.program.structure import Structure


@final
@dataclass(frozen=True, eq=False)
class ParametricProgram:
    """theta -> (P, q, A, b), and (x, y) -> outputs, both affine.

    `data` maps theta (p) to the data vector (P, q, A, b) of `structure`; `constant` maps theta to the constant term of
    the objective, as far as it is affine in theta: no layer needs it, and CVXPY leaves out squares of parameters alone;
    `recovery` maps (x, y) (n + m) to the flat output (k).
    """

    structure: Structure
    signature: Signature
    data: AffineMap
    constant: AffineMap
    recovery: AffineMap
