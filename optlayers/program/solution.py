"""A solution of a cone program, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from optlayers.errors import Status


@final
@dataclass(frozen=True, eq=False)
class Point:
    """A primal-dual point (x, y, s) of a cone program, of any accuracy."""

    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " m"]
    s: Float[np.ndarray, " m"]


@final
@dataclass(frozen=True, eq=False)
class SolverResult:
    """What a forward solver returns.

    `point` is the last iterate; where the status is INFEASIBLE, its y is the certificate (A'y = 0, b'y < 0, y in K*),
    where it is UNBOUNDED, its x is the ray (Px = 0, q'x < 0, -Ax in K). `detail` is the solver's own word.
    """

    point: Point
    status: Status
    detail: str
    iterations: int
