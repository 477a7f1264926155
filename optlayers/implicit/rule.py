"""How the solution of an equation is differentiated, and how its solves are reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from optlayers.implicit.linear.abstract import AbstractLinearSolver
from optlayers.implicit.policy import Policy


@final
@dataclass(frozen=True, eq=False)
class Rule:
    """The implicit rule: J_z dz = -J_theta dtheta; and J_z' u = g, g_theta = -J_theta' u.

    backward solves the linear systems; forward_policy judges the solution z, backward_policy those of the systems.
    """

    backward: AbstractLinearSolver
    forward_policy: Policy
    backward_policy: Policy
