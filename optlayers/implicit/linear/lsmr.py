"""LSMR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

from optlayers.implicit.framework import Array, Function
from optlayers.implicit.linear.abstract import AbstractLinearSolver, LinearSolution
from optlayers.implicit.linear.elementwise import advanced, counter, nothing, quotient
from optlayers.implicit.linear.least_squares import orthogonal, products
from optlayers.implicit.linear.refinement import Going, Pass, refined
from optlayers.implicit.operator import LinearOperator
from optlayers.implicit.report import INACCURATE, NUMERICAL_ERROR, SINGULAR, SOLVED
from optlayers.implicit.stopping import length


@final
class Bidiagonal(NamedTuple):
    """Golub and Kahan's bidiagonalisation of B = A M^-1 and the two QR factorisations that follow, with the names of
    Fong and Saunders (2011, Algorithm LSMR and section 5).

    y, h, h_bar, u, v: (*E, *B, n). The others, for each element: scalars of the recurrences, then |r|, the Frobenius
    norm of B squared, the extreme diagonal entries, the iterations, and whether r is orthogonal to the range.
    """

    y: Array
    h: Array
    h_bar: Array
    u: Array
    v: Array
    alpha: Array
    alpha_bar: Array
    zeta: Array
    zeta_bar: Array
    rho: Array
    rho_bar: Array
    c_bar: Array
    s_bar: Array
    beta_dot: Array
    beta_check: Array
    rho_dot: Array
    theta_tilde: Array
    tau_tilde: Array
    norm: Array
    squares: Array
    largest: Array
    smallest: Array
    iterations: Array
    orthogonal: Array


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class LSMR(AbstractLinearSolver):
    """MINRES on A'A u = A'rhs by the bidiagonalisation of A (Fong and Saunders 2011).

    An iteration is a product with A and one with A'. Memory: six vectors of the batch. Works for any A; |A'r| falls in
    every iteration, at the rate of conjugate gradients on the normal equations.

    For a singular A it finds the u of minimum norm (with a preconditioner M, of minimum |M u|) among those that
    minimise |A u - rhs|. Where that leaves a residual, rhs being outside the range of A, the status is SINGULAR; so it
    is where the condition number exceeds that of `orthogonal`, which cannot be told from it.

    The condition number comes with the recurrences, from below; above 1/sqrt(eps) the status is INACCURATE. With a
    preconditioner it would be that of A M^-1, and is not given.
    """

    name: ClassVar[str] = "LSMR"

    def solve(self, operator: LinearOperator, rhs: Array) -> LinearSolution:
        xp = operator.xp
        multiply, forward, backward, inverse = products(self, operator)

        def run(r: Array, norm: Array, going: Going) -> Pass:
            def on(at: Bidiagonal) -> Array:
                return going.on(xp, at.iterations, at.norm, lambda: inverse(at.y)) & ~at.orthogonal

            def body(at: Bidiagonal) -> Bidiagonal:
                return advanced(xp, on(at), _step(xp, forward, backward, self.tolerance, at), at)

            at = operator.framework.while_loop(on, body, _start(xp, backward, r, norm))
            failure = xp.where(at.orthogonal, counter(xp, norm, SINGULAR), counter(xp, norm, NUMERICAL_ERROR))
            known = (at.iterations > 0) if self.preconditioner is None else nothing(xp, norm)
            condition = xp.where(known, quotient(xp, at.largest, at.smallest), xp.full_like(norm, float("nan")))
            return Pass(inverse(at.y), at.iterations, failure, condition)

        u, info, _ = refined(self, operator, rhs, multiply, run)
        doubtful = (info.status == SOLVED) & (info.condition > xp.finfo(rhs.dtype).eps ** -0.5)
        return LinearSolution(
            u, info._replace(status=xp.where(doubtful, counter(xp, doubtful, INACCURATE), info.status))
        )


def _start(xp: Any, backward: Function, r: Array, norm: Array) -> Bidiagonal:
    u, _ = _normalized(xp, r)
    v, alpha = _normalized(xp, backward(u))
    zero, one = 0 * alpha, xp.ones_like(alpha)
    return Bidiagonal(
        y=0 * r,
        h=v,
        h_bar=0 * r,
        u=u,
        v=v,
        alpha=alpha,
        alpha_bar=alpha,
        zeta=zero,
        zeta_bar=alpha * norm,
        rho=one,
        rho_bar=one,
        c_bar=one,
        s_bar=zero,
        beta_dot=norm,
        beta_check=zero,
        rho_dot=one,
        theta_tilde=zero,
        tau_tilde=zero,
        norm=norm,
        squares=alpha * alpha,
        largest=zero,
        smallest=xp.full_like(alpha, float("inf")),
        iterations=counter(xp, alpha),
        orthogonal=alpha == 0,
    )


def _step(xp: Any, forward: Function, backward: Function, tolerance: float, at: Bidiagonal) -> Bidiagonal:
    u, beta = _normalized(xp, forward(at.v) - at.alpha[..., None] * at.u)
    v, alpha = _normalized(xp, backward(u) - beta[..., None] * at.v)

    c, s, rho = _rotation(xp, at.alpha_bar, beta)
    theta, alpha_bar = s * alpha, c * alpha
    theta_bar, rho_temp = at.s_bar * rho, at.c_bar * rho
    c_bar, s_bar, rho_bar = _rotation(xp, rho_temp, theta)
    zeta, zeta_bar = c_bar * at.zeta_bar, -s_bar * at.zeta_bar

    h_bar = at.h - quotient(xp, theta_bar * rho, at.rho * at.rho_bar)[..., None] * at.h_bar
    y = at.y + quotient(xp, zeta, rho * rho_bar)[..., None] * h_bar
    h = v - quotient(xp, theta, rho)[..., None] * at.h

    beta_hat, beta_dot = c * at.beta_dot, -s * at.beta_dot
    c_tilde, s_tilde, rho_tilde = _rotation(xp, at.rho_dot, theta_bar)
    theta_tilde, rho_dot = s_tilde * rho_bar, c_tilde * rho_bar
    beta_check = c_tilde * beta_hat - s_tilde * at.beta_check
    tau_tilde = quotient(xp, at.zeta - at.theta_tilde * at.tau_tilde, rho_tilde)
    tau_dot = quotient(xp, zeta - theta_tilde * tau_tilde, rho_dot)
    norm = xp.sqrt((beta_check - tau_dot) ** 2 + beta_dot**2)

    squares = at.squares + beta * beta
    # Diagonal entries of triangular factors lie between the extreme singular values.
    largest = xp.maximum(at.largest, xp.maximum(rho_temp, rho_bar))
    smallest = xp.minimum(at.smallest, xp.minimum(rho_temp, rho_bar))
    return Bidiagonal(
        y=y,
        h=h,
        h_bar=h_bar,
        u=u,
        v=v,
        alpha=alpha,
        alpha_bar=alpha_bar,
        zeta=zeta,
        zeta_bar=zeta_bar,
        rho=rho,
        rho_bar=rho_bar,
        c_bar=c_bar,
        s_bar=s_bar,
        beta_dot=beta_dot,
        beta_check=beta_check,
        rho_dot=rho_dot,
        theta_tilde=theta_tilde,
        tau_tilde=tau_tilde,
        norm=norm,
        squares=squares + alpha * alpha,
        largest=largest,
        smallest=smallest,
        iterations=at.iterations + 1,
        orthogonal=orthogonal(xp, tolerance, xp.abs(zeta_bar), xp.sqrt(squares), norm),
    )


def _normalized(xp: Any, vector: Array) -> tuple[Array, Array]:
    """The vector by its length, and that; 0 has no direction."""
    size = length(xp, vector)
    return quotient(xp, vector, size[..., None] + 0 * vector), size


def _rotation(xp: Any, a: Array, b: Array) -> tuple[Array, Array, Array]:
    """c, s, rho with c a + s b = rho and c b = s a."""
    rho = xp.sqrt(a * a + b * b)
    return quotient(xp, a, rho), quotient(xp, b, rho), rho
