"""How far an equation is from a contraction."""

from __future__ import annotations

from optlayers.implicit.checks import check_count
from optlayers.implicit.equation import Problem
from optlayers.implicit.framework import Array
from optlayers.implicit.stopping import length


def spectral_radius(problem: Problem, z: Array, iterations: int = 100) -> Array:
    """(*B) the estimated largest modulus of the eigenvalues of I - J_z(z, theta), the derivative of g for z = g(z).

    Below one, the fixed-point iteration converges near z, by this factor in each step in the long run. By power
    iteration: the geometric mean of |A^k v| / |A^(k-1) v| over the later half of the iterations, a mean that a complex
    pair of eigenvalues does not disturb. Its relative error falls as 1/iterations, and for an A far from normal later;
    it may be on either side. v is the same in every call.

    iterations: the number of products with A, 2 at least.
    """
    check_count("spectral_radius", "iterations", iterations, 2)
    xp, framework = problem.xp, problem.framework
    problem, z = problem.constant(), framework.constant(z)
    _, product = framework.linearize(problem.residual, z)
    v = xp.cos(xp.cumsum(xp.cumsum(xp.ones_like(z), axis=-1), axis=-1))
    sum_of_logs = 0 * z[..., 0]
    count = xp.zeros_like(sum_of_logs, dtype=xp.int32)

    def going(state: tuple[Array, Array, Array]) -> Array:
        return state[2] < iterations

    def multiply(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        v, sum_of_logs, count = state
        v = v - product(v)
        growth = length(xp, v)
        v = v / xp.where(growth > 0, growth, xp.ones_like(growth))[..., None]
        later = count >= iterations // 2
        return v, sum_of_logs + xp.where(later, xp.log(growth), 0 * growth), count + 1

    v = v / length(xp, v)[..., None]
    _, sum_of_logs, _ = framework.while_loop(going, multiply, (v, sum_of_logs, count))
    return xp.exp(sum_of_logs / (iterations - iterations // 2))
