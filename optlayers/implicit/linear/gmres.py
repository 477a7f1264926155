"""GMRES."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

from optlayers.implicit.checks import check_count
from optlayers.implicit.framework import Array, Function
from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.elementwise import advanced, counter, nothing, quotient
from optlayers.implicit.linear.refinement import Going, Pass, refined
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import NUMERICAL_ERROR, SINGULAR
from optlayers.implicit.stopping import length


@final
class Arnoldi(NamedTuple):
    """A M^-1 V_k = V_{k+1} H_k, and Q H_k = R, a product of rotations and an upper triangular matrix.

    V (*E, *B, m + 1, n) by rows, those not reached 0; v (*E, *B, n) the last of them; Q (*E, *B, m + 1, m + 1);
    R (*E, *B, m, m), columns not reached, or that depend on those before, 0; and, for each element, k, the norm of the
    residual, and whether the space is exhausted.
    """

    V: Array
    v: Array
    Q: Array
    R: Array
    k: Array
    norm: Array
    exhausted: Array


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class GMRES(AbstractLinearSolver):
    """u = M^-1 y with y in span{r, A M^-1 r, ...} that minimises |rhs - A u| (Saad and Schultz 1986).

    restart: the dimension m of the space, at which it is begun anew from the residual. Memory: m + 1 vectors of the
        batch. Iterations are products with A.

    The basis is orthogonalised twice by classical Gram-Schmidt, which is enough (Giraud, Langou, Rozloznik 2005). The
    rotations are kept as their product Q, so that none has to be applied one after the other, and the residual's norm
    is |Q_{k+1,1}| |r| in each iteration.

    For a nonsingular A an exhausted space contains the solution. For a singular one it may not (Brown and Walker 1997):
    the status is SINGULAR then, as it is where A is singular to the precision of the dtype. Restarts may stall, as on
    a permutation that moves rhs along more than m unit vectors: NUMERICAL_ERROR, and a larger `restart` helps.
    """

    restart: int = 30

    name: ClassVar[str] = "GMRES"

    def __post_init__(self) -> None:
        AbstractLinearSolver.__post_init__(self)
        check_count("GMRES", "restart", self.restart)

    def solve(self, operator: LinearOperator, rhs: Array) -> LinearSolution:
        xp, n = operator.xp, rhs.shape[-1]
        m = min(self.restart, n, self.max_iterations)
        multiply, inverse = operator.multiply(), self.approximate_inverse(operator)

        def run(r: Array, norm: Array, going: Going) -> Pass:
            def on(at: Arnoldi) -> Array:
                return going.on(xp, at.k, at.norm) & (at.k < m) & ~at.exhausted

            def body(at: Arnoldi) -> Arnoldi:
                return advanced(xp, on(at), _step(xp, lambda v: multiply(inverse(v)), at, norm), at)

            at = operator.framework.while_loop(on, body, _start(operator, r, norm, m))
            d = inverse(_combination(operator, at, norm))
            full = at.exhausted | (at.k >= n)
            failure = xp.where(full, counter(xp, norm, SINGULAR), counter(xp, norm, NUMERICAL_ERROR))
            return Pass(d, at.k, failure, xp.full_like(norm, float("nan")))

        return refined(self, operator, rhs, multiply, run)


def _start(operator: LinearOperator, r: Array, norm: Array, m: int) -> Arnoldi:
    xp = operator.xp
    v = quotient(xp, r, norm[..., None] + 0 * r)
    one = operator.framework.eye(m + 1, r)
    Q = norm[..., None, None] * 0 + one
    V = one[0][:, None] * v[..., None, :]
    return Arnoldi(V, v, Q, 0 * Q[..., :m, :m], counter(xp, norm), norm, nothing(xp, norm))


def _step(xp: Any, multiply: Function, at: Arnoldi, first: Array) -> Arnoldi:
    V, m = at.V, at.R.shape[-1]
    place = xp.cumsum(xp.ones_like(at.Q[..., 0]), -1) - 1
    here, following = (xp.where(place == k[..., None], xp.ones_like(place), 0 * place) for k in (at.k, at.k + 1))
    w = multiply(at.v)
    before = length(xp, w)
    h = 0 * place
    for _ in range(2):
        part = (V @ w[..., None])[..., 0]
        h, w = h + part, w - (part[..., None, :] @ V)[..., 0, :]
    after = length(xp, w)
    exhausted = after <= NEGLIGIBLE * xp.finfo(w.dtype).eps * before
    after = xp.where(exhausted, 0 * after, after)
    v = xp.where(exhausted[..., None], 0 * w, quotient(xp, w, after[..., None] + 0 * w))
    column = (at.Q @ (h + after[..., None] * following)[..., None])[..., 0]
    a, b = xp.sum(column * here, axis=-1), xp.sum(column * following, axis=-1)
    rho = xp.sqrt(a * a + b * b)
    dependent = rho <= NEGLIGIBLE * xp.finfo(w.dtype).eps * length(xp, column)
    cosine, sine = xp.where(rho == 0, xp.ones_like(rho), quotient(xp, a, rho)), quotient(xp, b, rho)
    upper, lower = ((row[..., None, :] @ at.Q)[..., 0, :] for row in (here, following))
    turned = cosine[..., None] * upper + sine[..., None] * lower
    rest = cosine[..., None] * lower - sine[..., None] * upper
    Q = (
        at.Q
        + here[..., :, None] * (turned - upper)[..., None, :]
        + following[..., :, None] * (rest - lower)[..., None, :]
    )
    column = column + (rho - a)[..., None] * here - b[..., None] * following
    column = xp.where(dependent[..., None], 0 * column, column)[..., :m]
    # A dependent column reduces nothing, and the space is exhausted with it.
    norm = xp.where(dependent, at.norm, first * xp.abs(rest[..., 0]))
    return Arnoldi(
        V + following[..., :, None] * v[..., None, :],
        v,
        Q,
        at.R + column[..., :, None] * here[..., None, :m],
        at.k + 1,
        norm,
        exhausted | dependent,
    )


def _combination(operator: LinearOperator, at: Arnoldi, norm: Array) -> Array:
    """y = V' R^-1 of the first rows of Q |r|, which minimises the residual; unreached columns take no part."""
    xp, R = operator.xp, at.R
    m = R.shape[-1]
    one = operator.framework.eye(m, R)
    diagonal = xp.sum(R * one, axis=-1)
    reached = diagonal != 0
    g = xp.where(reached, norm[..., None] * at.Q[..., :m, 0], 0 * diagonal)
    R = R + one * xp.where(reached, 0 * diagonal, xp.ones_like(diagonal))[..., None]
    y = operator.framework.factor(R)(g[..., None], False)[..., 0]
    return (y[..., None, :] @ at.V[..., :m, :])[..., 0, :]


NEGLIGIBLE = 4.0
"""How many units of rounding of A M^-1 v are no new direction."""
