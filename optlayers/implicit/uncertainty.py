"""How certain a derivative is, given how accurately its point solves the equation.

A point z with the residual r is known up to J^-1 r. Where J is nearly singular, as at a fold, or where z is a multiple
root, J may be another matrix within that distance, however well the linear system with J was solved; and the condition
number of J need not tell: that of a single unknown is one.
"""

from __future__ import annotations

import math
from typing import Any

from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array, Function
from optlayers.implicit.linear.abstract import LinearSolution
from optlayers.implicit.linear.elementwise import quotient
from optlayers.implicit.report import DOUBT, INACCURATE, SOLVED, LinearInfo
from optlayers.implicit.stopping import length


def examined(
    problem: Problem, z: Array, rhs: Array, solution: LinearSolution, transpose: bool, cotangent: bool | Array
) -> tuple[Array, LinearInfo]:
    """The solution of a system A u = rhs, A = J or, if `transpose`, J', and its report, with its `uncertainty`.

    Where A^-1 is at hand: |A^-1 (A(z - e) - A(z)) u| / |u| for Newton's step e = J^-1 F(z). Otherwise, from below,
    |(A(z - e) - A(z)) u| / |rhs| for the part of such a step, with a residual of the norm of F(z), that u tells of:
    e = u |F| / |rhs| for J, as J e = rhs |F| / |rhs|; and e = rhs |u| |F| / |rhs|^2 for J', the largest J^-1 r along
    rhs. In one unknown they are the same.

    It is asked for only where |e| > sqrt(eps) |z|: a closer z is as good as exact. For a system that was solved, more
    than DOUBT of it is INACCURATE.

    A cotangent of 0 asks nothing: u is 0, whatever A is, so that a failed element that the caller has left out spoils
    no gradient of a shared parameter. A tangent of 0 says nothing, as for z^3 = theta^3 at 0: the vector of ones stands
    for u then, and A u for rhs. cotangent: which of the two rhs is; or (*B), of which elements.
    """
    xp, problem, z = problem.xp, problem.constant(), problem.framework.constant(z)
    unasked = xp.all(rhs == 0, axis=-1) & cotangent
    u, info, inverse = solution
    u = xp.where(unasked[..., None], xp.zeros_like(u), u)
    info = info._replace(
        status=xp.where(unasked, xp.full_like(info.status, SOLVED), info.status),
        residual=xp.where(unasked, xp.zeros_like(info.residual), info.residual),
        uncertainty=xp.zeros_like(info.residual),
    )
    if problem.policy is not None:  # z is an iterate, whose derivative is that at z
        return u, info
    missed = quotient(xp, info.residual, length(xp, rhs))
    found, (u, rhs) = u, _most_uncertain(xp, *(_along_one_axis(vectors, z) for vectors in (u, rhs)))
    idle = xp.all(rhs == 0, axis=-1)
    r = problem.residual(z)
    near = float(xp.finfo(z.dtype).eps) ** 0.5 * length(xp, z)
    if inverse is None:
        far = length(xp, u) * length(xp, r) > near * length(xp, rhs)
    else:
        newton = inverse(r, transpose)
        far = ~(length(xp, newton) <= near)
    # Where F is not finite, no solution was found, which was said then.
    asked = xp.where(idle, ~(cotangent | ~idle), far) & xp.isfinite(length(xp, r))

    def probe(state: tuple[LinearInfo, Array]) -> tuple[LinearInfo, Array]:
        left = xp.where(idle[..., None], xp.ones_like(u), u)
        right = xp.where(idle[..., None], _derivative(problem, z, transpose)(left), rhs)
        if inverse is None:
            along = right if transpose else left
            e = quotient(xp, length(xp, left) * length(xp, r), length(xp, right) * length(xp, along))[..., None] * along
            change, whole = _derivative(problem, z - e, transpose)(left) - right, right
        else:
            change, whole = inverse(_derivative(problem, z - newton, transpose)(left) - right, False), left
        size = length(xp, whole)
        part = xp.where(size > 0, quotient(xp, length(xp, change), size), xp.full_like(size, math.inf))
        part = xp.where(xp.isfinite(part), part, xp.full_like(part, math.inf))
        part = xp.broadcast_to(xp.where(asked, part, 0 * part), info.status.shape)
        doubtful = info.solved & (part > DOUBT + missed)
        status = xp.where(doubtful, xp.full_like(info.status, INACCURATE), info.status)
        return info._replace(status=status, uncertainty=part), asked & ~asked

    return found, problem.framework.while_loop(lambda state: state[1], probe, (info, asked))[0]


def _derivative(problem: Problem, z: Array, transpose: bool) -> Function:
    operator = problem.derivative(z)
    return operator.multiply_transposed() if transpose else operator.multiply()


def _along_one_axis(vectors: Array, z: Array) -> Array:
    further = vectors.shape[: len(vectors.shape) - len(z.shape)]
    return vectors.reshape(math.prod(further), *z.shape)


def _most_uncertain(xp: Any, u: Array, rhs: Array) -> tuple[Array, Array]:
    """Of systems (m, *B, n) with the same A, those (*B, n) of the largest |u| / |rhs|."""
    if u.shape[0] <= 1:
        return xp.sum(u, 0), xp.sum(rhs, 0)
    ratio = quotient(xp, length(xp, u), length(xp, rhs))
    place = xp.cumsum(xp.ones_like(ratio), 0) - 1
    first = xp.amax(xp.where(ratio >= xp.amax(ratio, 0), -place, -math.inf * xp.ones_like(place)), 0)
    chosen = (place == -first)[..., None]
    return xp.sum(xp.where(chosen, u, 0 * u), 0), xp.sum(xp.where(chosen, rhs, 0 * rhs), 0)
