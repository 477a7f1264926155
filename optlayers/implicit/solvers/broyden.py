"""Broyden's method with limited memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from optlayers.implicit.checks import check_at_least, check_between, check_count, is_number, wrong
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.linear.abstract import AbstractLinearSolver
from optlayers.implicit.linear.one_step import OneStep
from optlayers.implicit.solvers.abstract import AbstractIteration, Memory, Step
from optlayers.implicit.solvers.history import combined, empty, products, pushed
from optlayers.implicit.stopping import inner, largest


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Broyden(AbstractIteration):
    """z <- z - H F(z), where H = scale I + sum_i u_i v_i' and H y = s for the last change s of z and y of F(z).

    The good method: of the B that have B s = y, B = H^-1 changes least; with Sherman and Morrison's formula,
    H <- H + (s - H y) s' H / (s' H y). Converges superlinearly near a solution with a regular derivative as long as
    the memory lasts, in 2n steps at most for linear F. When the memory is full, H begins anew: the sum without its
    oldest terms is no Broyden matrix, and was seen to diverge where this does not.

    Where s' H y is small beside s's, the new H would be nearly singular; y is then moved towards H^-1 s until
    |s' H y| = safety s's (Powell 1970). Against blow-up, a point whose residual exceeds `growth` times the smallest so
    far is not moved to: H learns from it, and the next step starts again at the point before.

    depth: the number of rank-one terms after which H begins anew.
    scale: that of the first H. 1 fits fixed points; else the inverse of a typical derivative.

    Broyden (1965), A class of methods for solving nonlinear simultaneous equations; in the form of Bai, Kolter and
    Koltun (2019), Deep equilibrium models.
    """

    patience: int | None = 200
    depth: int = 30
    scale: float = 1.0
    safety: float = 0.1
    growth: float = 2.0

    name: ClassVar[str] = "Broyden"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("Broyden", "depth", self.depth)
        if not is_number(self.scale) or self.scale == 0:
            raise wrong("Broyden", "scale", self.scale, "a number other than zero")
        check_between("Broyden", "safety", self.safety, 0.0, 1.0)
        check_at_least("Broyden", "growth", self.growth, 1.0, infinite=True)

    def start(self, problem: Problem, z: Array, residual: Array) -> Memory:
        xp, none = problem.xp, empty(problem.xp, z, self.depth)
        norm = problem.framework.constant(largest(xp, residual))
        return z, residual, none, none, norm, xp.zeros_like(norm, dtype=xp.int32)

    def step(self, problem: Problem, z: Array, residual: Array, memory: Memory, moving: Array) -> Step:
        xp, (base, base_residual, u, v, smallest, count) = problem.xp, memory
        kept = (count < self.depth)[..., None, None]
        u, v = xp.where(kept, u, 0 * u), xp.where(kept, v, 0 * v)
        u, v = self._updated(problem, z - base, residual - base_residual, (u, v))
        norm = problem.framework.constant(largest(xp, residual))
        accepted = (norm <= self.growth * smallest)[..., None]
        z, residual = xp.where(accepted, z, base), xp.where(accepted, residual, base_residual)
        following = z - self.scale * residual - combined(xp, u, products(xp, v, residual))
        count = xp.where(count < self.depth, count, 0 * count) + 1
        return Step(following, (z, residual, u, v, xp.where(norm < smallest, norm, smallest), count))

    def linear_step(self) -> AbstractLinearSolver:
        return OneStep(scale=self.scale)

    def _updated(self, problem: Problem, s: Array, y: Array, terms: tuple[Array, Array]) -> tuple[Array, Array]:
        """The terms (u, v) of H after the change s of z and y of the residual."""
        xp, (u, v) = problem.xp, terms
        h_y = self.scale * y + combined(xp, u, products(xp, v, y))
        s_h = self.scale * s + combined(xp, v, products(xp, u, s))
        square = inner(xp, s, s)[..., None]
        moved = square > 0
        square = xp.where(moved, square, xp.ones_like(square))
        ratio = inner(xp, s, h_y)[..., None] / square
        one = xp.ones_like(ratio)
        target, near = self.safety * xp.where(ratio < 0, -one, one), xp.abs(ratio) < self.safety
        theta = xp.where(near, (1 - target) / xp.where(near, 1 - ratio, one), one)
        h_y = theta * h_y + (1 - theta) * s
        product = xp.where(moved, inner(xp, s, h_y)[..., None], square)
        return pushed(xp, u, (s - h_y) / product), pushed(xp, v, s_h)
