"""Every cone by its definition: points of it, points of its dual, and the nearest point found by a general solver.

Nothing here uses the package's projections. The dual cones are written out: Chandrasekaran and Shah (2017) for the
exponential cone, Chares (2009) for the power cone.
"""

from __future__ import annotations

import cvxpy as cp
import numpy as np

from optlayers.cones import AbstractCone, Dual, Exponential, Nonnegative, Power, SecondOrder, Semidefinite, Zero


def vectorise(X: np.ndarray) -> np.ndarray:
    """The rows of a symmetric matrix: the upper triangle by columns, entries off the diagonal times sqrt 2."""
    order = len(X)
    return np.array([X[i, j] * (1 if i == j else 2**0.5) for j in range(order) for i in range(j + 1)])


def sample(cone: AbstractCone, generator: np.random.Generator) -> np.ndarray:
    """A point of K, for most cones on its boundary."""
    match cone:
        case Zero(count):
            return np.zeros(count)
        case Nonnegative(count):
            return generator.exponential(size=count) * (generator.random(count) < 0.5)
        case SecondOrder(dimension):
            z = generator.standard_normal(dimension - 1)
            return np.array([np.linalg.norm(z) if dimension > 1 else 1.0, *z])
        case Semidefinite(order):
            g = generator.standard_normal(order)
            return vectorise(np.outer(g, g))
        case Exponential():
            if generator.random() < 0.1:
                return np.array([-generator.random(), 0, generator.random()])
            y, ratio = generator.random(), 3 * generator.standard_normal()
            return np.array([y * ratio, y, y * np.exp(ratio)])
        case Power(exponents):
            u = generator.exponential(size=len(exponents))
            return np.array([*u, generator.choice([-1, 1]) * np.prod(u ** np.array(exponents))])
        case Dual(other):
            return sample_dual(other, generator)
    raise NotImplementedError(f"{cone} has no definition here; add its points and those of its dual.")


def sample_dual(cone: AbstractCone, generator: np.random.Generator) -> np.ndarray:
    """A point of K*, for most cones on its boundary."""
    match cone:
        case Zero(count):
            return generator.standard_normal(count)
        case Nonnegative() | SecondOrder() | Semidefinite():
            return sample(cone, generator)
        case Exponential():
            # {(a, b, c) : -a exp(b/a) <= e c, a < 0} and (0, b, c) >= 0
            if generator.random() < 0.1:
                return np.array([0, generator.random(), generator.random()])
            a, ratio = -generator.random(), 3 * generator.standard_normal()
            return np.array([a, a * ratio, -a * np.exp(ratio - 1)])
        case Power(exponents):
            # {(u, w) : prod (u_i / a_i)^a_i >= |w|, u >= 0}
            point = sample(cone, generator)
            return np.array([*(point[:-1] * np.array(exponents)), point[-1]])
        case Dual(other):
            return sample(other, generator)
    raise NotImplementedError(f"{cone} has no definition here; add its points and those of its dual.")


def nearest(cone: AbstractCone, v: np.ndarray, residual: float) -> np.ndarray:
    """The point of K* nearest to v, v + argmin {|k + v|^2 : k in K} by Moreau, |v| about 1.

    The solver stops at the given residuals of the optimality conditions; the objective is strongly convex with
    modulus 1, so that the error is of their order.
    """
    if isinstance(cone, Dual):
        return _nearest_in(cone.cone, v, residual)
    return v + _nearest_in(cone, -v, residual)


def _nearest_in(cone: AbstractCone, u: np.ndarray, residual: float) -> np.ndarray:
    if isinstance(cone, Dual):
        return nearest(cone.cone, u, residual)
    k = cp.Variable(cone.size)
    objective = cp.Minimize(cp.sum_squares(k) / 2 - u @ k)
    problem = cp.Problem(objective, _constraints(cone, k))
    match cone.cone if isinstance(cone, Dual) else cone:
        case Power((_, _, _, *_)):  # SCS takes a chain of small cones instead, which it solves too slowly
            problem.solve(solver=cp.CLARABEL)  # at its accuracy of 1e-8
        case _:
            problem.solve(solver=cp.SCS, eps_abs=residual, eps_rel=residual)
    return np.asarray(k.value)


def _constraints(cone: AbstractCone, k: cp.Variable) -> list[cp.Constraint]:
    match cone:
        case Zero():
            return [k == 0]
        case Nonnegative():
            return [k >= 0]
        case SecondOrder(1):
            return [k >= 0]
        case SecondOrder():
            return [cp.SOC(k[0], k[1:])]
        case Semidefinite(order):
            X = cp.Variable((order, order), PSD=True)
            entries = [X[i, j] * (1 if i == j else 2**0.5) for j in range(order) for i in range(j + 1)]
            return [k == cp.hstack(entries)]
        case Exponential():
            return [cp.ExpCone(k[0], k[1], k[2])]
        case Power(exponents):
            return [cp.PowConeND(k[:-1], k[-1], np.array(exponents))]
    raise NotImplementedError(f"{cone} has no definition here; add its constraints.")
