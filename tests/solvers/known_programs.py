"""Cone programs with a known solution, ray or certificate, and cones by their definitions.

Nothing here uses the package's projections. The dual cones are written out: Chandrasekaran and Shah (2017) for the
exponential cone, Chares (2009) for the power cone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cone_programs import dense_program

from optlayers.cones import (
    AbstractCone,
    Dual,
    Exponential,
    Nonnegative,
    Power,
    Product,
    SecondOrder,
    Semidefinite,
    Zero,
)
from optlayers.program import ConeProgram, Point

PRODUCTS: dict[str, Product] = {
    "in SCS's order": Product((Zero(2), Nonnegative(3), SecondOrder(4), Exponential(), Power((0.3, 0.7)))),
    "shuffled": Product(
        (
            Power((0.3, 0.7)),
            Semidefinite(3),
            Nonnegative(2),
            Exponential(),
            SecondOrder(3),
            Zero(1),
            Semidefinite(2),
            Power((0.2, 0.3, 0.5)),
            Exponential(),
            Nonnegative(1),
            Zero(2),
        )
    ),
    "second-order": Product((SecondOrder(1), SecondOrder(5), SecondOrder(2), SecondOrder(5))),
    "semidefinite": Product((Semidefinite(1), Semidefinite(4), Semidefinite(2), Semidefinite(4))),
    "exponentials": Product((Exponential(),) * 8),
    "powers of 1 and 2 exponents": Product((Power((1.0,)), Power((0.9, 0.1)), Power((0.5, 0.5)))),
    "powers of 3 and 5 exponents": Product(
        (Power((0.2, 0.3, 0.5)), Power((0.1, 0.3, 0.2, 0.25, 0.15)), Power((0.2, 0.3, 0.5)))
    ),
    "self-dual": Product((Dual(Semidefinite(3)), Dual(SecondOrder(3)), Dual(Nonnegative(2)), Dual(Dual(Zero(1))))),
    "dual": Product((Dual(Exponential()), Dual(Power((0.3, 0.7))), Zero(1), Dual(Power((0.2, 0.5, 0.3))))),
    "dual and primal": Product((Dual(Exponential()), Dual(Power((0.3, 0.7))), Exponential(), Power((0.3, 0.7)))),
}


def vectorise(X: np.ndarray) -> np.ndarray:
    """The rows of a symmetric matrix: the upper triangle by columns, entries off the diagonal times sqrt 2."""
    return np.array([X[i, j] * (1 if i == j else 2**0.5) for j in range(len(X)) for i in range(j + 1)])


def matrix(rows: np.ndarray, order: int) -> np.ndarray:
    """The inverse of `vectorise`."""
    X, place = np.zeros((order, order)), 0
    for j in range(order):
        for i in range(j + 1):
            X[i, j] = X[j, i] = rows[place] / (1 if i == j else 2**0.5)
            place += 1
    return X


def outside(cone: AbstractCone, v: np.ndarray) -> float:
    """By how much v breaks the inequalities that define K; at most 0 in K."""
    match cone:
        case Zero():
            return float(np.abs(v).max())
        case Nonnegative():
            return float(-v.min())
        case SecondOrder():
            return float(np.linalg.norm(v[1:]) - v[0])
        case Semidefinite(order):
            return float(-np.linalg.eigvalsh(matrix(v, order))[0])
        case Exponential():
            x, y, z = v
            return float(y * np.exp(x / y) - z if y > 0 else max(x, -y, -z))
        case Power(exponents):
            u = np.maximum(v[:-1], 0)
            return float(max(-v[:-1].min(), abs(v[-1]) - np.prod(u ** np.array(exponents))))
        case Dual(other):
            return outside_dual(other, v)
    raise NotImplementedError(f"{cone} has no definition here; add its inequalities.")


def outside_dual(cone: AbstractCone, v: np.ndarray) -> float:
    """By how much v breaks the inequalities that define K*."""
    match cone:
        case Zero():
            return 0.0
        case Exponential():
            u, v_, w = v
            return float(-u * np.exp(v_ / u - 1) - w if u < 0 else max(u, -v_, -w))
        case Power(exponents):
            return outside(cone, np.append(v[:-1] / np.array(exponents), v[-1]))
        case Dual(other):
            return outside(other, v)
    return outside(cone, v)


def pair(cone: AbstractCone, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """s in K and y in K* with y's = 0, both on the boundary and strictly complementary."""
    match cone:
        case Zero(count):
            return np.zeros(count), rng.standard_normal(count)
        case Nonnegative(count):
            active, size = np.arange(count) % 2 == 0, rng.uniform(0.5, 1.5, count)
            return np.where(active, 0, size), np.where(active, size, 0)
        case SecondOrder(1):
            return np.zeros(1), rng.uniform(0.5, 1.5, 1)
        case SecondOrder(dimension):
            z = rng.standard_normal(dimension - 1)
            z /= np.linalg.norm(z)
            return rng.uniform(0.5, 1.5) * np.append(1, z), rng.uniform(0.5, 1.5) * np.append(1, -z)
        case Semidefinite(order):
            U = np.linalg.qr(rng.standard_normal((order, order)))[0]
            size, positive = rng.uniform(0.5, 1.5, order), np.arange(order) < order // 2
            return vectorise(U * np.where(positive, size, 0) @ U.T), vectorise(U * np.where(positive, 0, size) @ U.T)
        case Exponential():
            # s on the surface z = y exp(x/y), y along its normal
            ratio, y = rng.uniform(-1, 1), rng.uniform(0.5, 1.5)
            normal = np.array([-np.exp(ratio), (ratio - 1) * np.exp(ratio), 1])
            return y * np.array([ratio, 1, np.exp(ratio)]), rng.uniform(0.5, 1.5) * normal
        case Power(exponents):
            a, u, sign = np.array(exponents), rng.uniform(0.5, 1.5, len(exponents)), rng.choice([-1, 1])
            w = np.prod(u**a)
            return np.append(u, sign * w), rng.uniform(0.5, 1.5) * np.append(a * w / u, -sign)
        case Dual(other):
            s, y = pair(other, rng)
            return y, s
    raise NotImplementedError(f"{cone} has no pair here; add one.")


def pairs(cones: Product, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`pair` for each factor."""
    found = [pair(cone, rng) for cone in cones.factors]
    return np.concatenate([s for s, _ in found]), np.concatenate([y for _, y in found])


@dataclass(frozen=True)
class Known:
    """A program and its only solution."""

    program: ConeProgram
    point: Point


def solved(cones: Product, seed: int = 0) -> Known:
    """A strongly convex program. A is square and invertible, so that the multipliers are unique too."""
    rng = np.random.default_rng(seed)
    s, y = pairs(cones, rng)
    m = cones.size
    A, x = np.linalg.qr(rng.standard_normal((m, m)))[0] * rng.uniform(0.5, 2, m), rng.standard_normal(m)
    root = rng.standard_normal((m, m)) / np.sqrt(m)
    P = root @ root.T + np.eye(m)
    return Known(dense_program(P, -(P @ x + A.T @ y), A, A @ x + s, cones), Point(x, y, s))


def infeasible(cones: Product, seed: int = 0) -> ConeProgram:
    """A program with a y in K* for which A'y = 0 and b'y = -1, and with a feasible dual."""
    rng = np.random.default_rng(seed)
    n, m = max(cones.size // 2, 1), cones.size
    (_, y), (_, dual) = pairs(cones, rng), pairs(cones, rng)
    A, b = rng.standard_normal((m, n)), rng.standard_normal(m)
    A -= np.outer(y, y @ A) / (y @ y)
    b -= y * (y @ b + 1) / (y @ y)
    return dense_program(np.zeros((n, n)), -(A.T @ dual), A, b, cones)


def unbounded(cones: Product, seed: int = 0) -> ConeProgram:
    """A feasible program with a ray x, -Ax in K, Px = 0 and q'x = -1, along which the objective decreases."""
    rng = np.random.default_rng(seed)
    n, m = cones.size + 1, cones.size
    (slack, _), (feasible, _) = pairs(cones, rng), pairs(cones, rng)
    A, q, x = rng.standard_normal((m, n)), rng.standard_normal(n), rng.standard_normal(n)
    A -= np.outer(A @ x + slack, x) / (x @ x)
    q -= x * (q @ x + 1) / (x @ x)
    across = rng.standard_normal((n // 3, n))
    across -= np.outer(across @ x, x) / (x @ x)
    return dense_program(across.T @ across, q, A, A @ rng.standard_normal(n) + feasible, cones)


def farthest_outside(cones: Product, s: np.ndarray, y: np.ndarray) -> float:
    """The largest of `outside` of s and `outside_dual` of y over the factors."""
    worst, start = -np.inf, 0
    for cone in cones.factors:
        rows = slice(start, start + cone.size)
        worst = max(worst, outside(cone, s[rows]), outside_dual(cone, y[rows]))
        start += cone.size
    return worst
