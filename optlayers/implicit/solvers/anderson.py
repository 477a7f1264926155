"""Anderson's acceleration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from optlayers.implicit.checks import check_at_least, check_count, check_positive
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array, Framework
from optlayers.implicit.linear.abstract import AbstractLinearSolver
from optlayers.implicit.linear.one_step import OneStep
from optlayers.implicit.solvers.abstract import AbstractIteration, Memory, Step
from optlayers.implicit.solvers.history import combined, empty, products, pushed
from optlayers.implicit.stopping import inner, largest, length


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Anderson(AbstractIteration):
    """z <- z - damping r - (dZ - damping dR) gamma, r = F(z), gamma the minimiser of |r - dR gamma|, where the columns
    of dZ and dR are the last changes of z and of r: type II.

    For linear F and unlimited depth it is equivalent to GMRES; the number of columns is at most n. It often converges
    where the plain iteration does not, but no more than locally, and without a rate better than the plain one's in
    general. Against blow-up, a point whose residual exceeds `growth` times the smallest so far is not moved to: the
    next step starts again at the point before, with the change that the rejected one has shown among its columns.

    depth: the number of columns.
    damping: of the plain step that is accelerated, z - damping F(z).
    regularization: the least-squares problem, whose columns are scaled to length one, is solved by Gram-Schmidt with
        regularization^2 |gamma|^2 added, so that (nearly) dependent columns get bounded weights. Where it is less than
        ten units of the precision, these are taken.

    Anderson (1965), Iterative procedures for nonlinear integral equations; Walker and Ni (2011), Anderson acceleration
    for fixed-point iterations.
    """

    patience: int | None = 200
    depth: int = 5
    damping: float = 1.0
    regularization: float = 1e-10
    growth: float = 10.0

    name: ClassVar[str] = "Anderson acceleration"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("Anderson", "depth", self.depth)
        check_positive("Anderson", "damping", self.damping)
        check_at_least("Anderson", "regularization", self.regularization, 0.0)
        check_at_least("Anderson", "growth", self.growth, 1.0, infinite=True)

    def start(self, problem: Problem, z: Array, residual: Array) -> Memory:
        xp, none = problem.xp, empty(problem.xp, z, min(self.depth, z.shape[-1]))
        return z, residual, none, none, problem.framework.constant(largest(xp, residual))

    def step(self, problem: Problem, z: Array, residual: Array, memory: Memory, moving: Array) -> Step:
        xp, (base, base_residual, d_z, d_residual, smallest) = problem.xp, memory
        d_z = pushed(xp, d_z, z - base)
        d_residual = pushed(xp, d_residual, residual - base_residual)
        norm = problem.framework.constant(largest(xp, residual))
        accepted = (norm <= self.growth * smallest)[..., None]
        z, residual = xp.where(accepted, z, base), xp.where(accepted, residual, base_residual)
        gamma = _least_squares(problem.framework, d_residual, residual, self.regularization)
        following = z - self.damping * residual - combined(xp, d_z - self.damping * d_residual, gamma)
        return Step(following, (z, residual, d_z, d_residual, xp.where(norm < smallest, norm, smallest)))

    def linear_step(self) -> AbstractLinearSolver:
        return OneStep(scale=self.damping)


def _least_squares(framework: Framework, columns: Array, r: Array, regularization: float) -> Array:
    """gamma (*B, m) of least |r - sum_i gamma_i columns_i|^2 + regularization^2 |scale gamma|^2.

    By modified Gram-Schmidt with r as the last column, which is as stable as Householder's QR (Bjorck 1967), in
    operations that have derivatives of every kind.
    """
    xp, m = framework.xp, columns.shape[-2]
    scale = framework.constant(length(xp, columns))[..., None]
    one = xp.ones_like(scale)
    weight = max(regularization, 10 * float(xp.finfo(r.dtype).eps))
    penalty = xp.where(scale > 0, weight * one, one) * framework.eye(m, r)
    scale = xp.where(scale > 0, scale, one)
    remaining = xp.concatenate([columns / scale, penalty], axis=-1)
    rhs = xp.concatenate([r, xp.zeros_like(penalty[..., 0, :])], axis=-1)
    rows, targets = [], []
    for _ in range(m):
        first = remaining[..., 0, :]
        norm = length(xp, first)  # not zero, for the penalty
        q = first / norm[..., None]
        along = products(xp, remaining[..., 1:, :], q)
        targets.append(inner(xp, q, rhs) / norm)
        rows.append(along / norm[..., None])
        rhs = rhs - inner(xp, q, rhs)[..., None] * q
        remaining = remaining[..., 1:, :] - along[..., None] * q[..., None, :]
    gamma = targets[-1][..., None]
    for row, target in zip(rows[-2::-1], targets[-2::-1], strict=True):
        gamma = xp.concatenate([(target - inner(xp, row, gamma))[..., None], gamma], axis=-1)
    return gamma / scale[..., 0]
