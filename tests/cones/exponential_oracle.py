"""The projection on the dual of the exponential cone in hundreds of digits, with a proof of each result.

    p(r) = (r, 1, exp r) spans the boundary of K,   d(r) = (-1, r - 1, exp -r) that of K*,   p(r)'d(r) = 0

so that v = B d(r) - A p(r) with A, B >= 0 is enough for Pi(v) = B d(r): `project` ends with this check. The root is
found by bisection and Newton's method on the sign of det(v, d(r), p(r)), in whatever arithmetic the context has.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, getcontext
from typing import TypeAlias

Point: TypeAlias = list[Decimal]

BISECTIONS = 40
"""Before Newton's steps."""

STEPS = 500
"""At most; each of them doubles the digits, or halves the bracket."""


def exactly(numbers: object) -> Point:
    return [Decimal(float(number)) for number in numbers]  # type: ignore[attr-defined]


def dot(a: Point, b: Point) -> Decimal:
    return sum((a_i * b_i for a_i, b_i in zip(a, b, strict=True)), Decimal(0))


def norm(a: Point) -> Decimal:
    return dot(a, a).sqrt()


def primal_ray(r: Decimal) -> Point:
    return [r, Decimal(1), r.exp()]


def dual_ray(r: Decimal) -> Point:
    return [Decimal(-1), r - 1, (-r).exp()]


def on_ray(v: Point, ray: Point) -> Point:
    """The point of the line of `ray` nearest to v."""
    length = dot(v, ray) / dot(ray, ray)
    return [length * entry for entry in ray]


def determinant(v: Point, r: Decimal) -> Decimal:
    """It rises with r where A, B > 0."""
    grown, shrunk = r.exp(), (-r).exp()
    return v[2] * (r * r - r + 1) - v[1] * (grown + r * shrunk) - v[0] * ((r - 1) * grown - shrunk)


def slope(v: Point, r: Decimal) -> Decimal:
    grown, shrunk = r.exp(), (-r).exp()
    return v[2] * (2 * r - 1) - v[1] * (grown + (1 - r) * shrunk) - v[0] * (r * grown + shrunk)


def ratio(v: Point) -> Decimal:
    """The r of v, which is outside K*, -K and the face."""
    low, high = bracket(v)
    for _ in range(BISECTIONS):
        r = (low + high) / 2
        low, high = (low, r) if determinant(v, r) > 0 else (r, high)
    r = (low + high) / 2
    for _ in range(STEPS):
        value, steepness = determinant(v, r), slope(v, r)
        low, high = (low, r) if value > 0 else (r, high)
        step = value / steepness if steepness > 0 else high - low
        last = abs(step) < abs(r) * Decimal(10) ** (-2 * getcontext().prec // 3)
        r = r - step if low <= r - step <= high else (low + high) / 2
        if last:
            break
    return r


def bracket(v: Point) -> tuple[Decimal, Decimal]:
    """The interval on which A and B are positive; its infinite ends are replaced by ones of the right sign."""
    low, high = [], []
    if v[0] != 0:
        (low if v[0] < 0 else high).append(1 - v[1] / v[0])
    if v[1] != 0:
        (low if v[1] > 0 else high).append(v[0] / v[1])
    start = max(low) if low else min(high)
    if not low:
        step = Decimal(1)
        while determinant(v, start - step) > 0:
            step *= 2
        low.append(start - step)
    if not high:
        step = Decimal(1)
        while determinant(v, start + step) < 0:
            step *= 2
        high.append(start + step)
    return max(low), min(high)


def project(v: Point) -> Point:
    """Pi(v), proven to all but the last digits."""
    r = ratio(v)
    p, d = primal_ray(r), dual_ray(r)
    y, minus_s = on_ray(v, d), on_ray(v, p)
    assert dot(y, d) >= 0, "B >= 0"
    assert dot(minus_s, p) <= 0, "A >= 0"
    error = norm([v_i - y_i - s_i for v_i, y_i, s_i in zip(v, y, minus_s, strict=True)])
    assert error <= norm(v) * Decimal(10) ** (-getcontext().prec // 2), "v = B d - A p"
    return y


def difference(function: Callable[[Point], Point], v: Point, h: Point) -> Point:
    """The central difference of `function` at v along h, with a step of a quarter of the context's digits."""
    step = Decimal(10) ** (-getcontext().prec // 4) * norm(v)
    ahead = function([v_i + step * h_i for v_i, h_i in zip(v, h, strict=True)])
    behind = function([v_i - step * h_i for v_i, h_i in zip(v, h, strict=True)])
    return [(front - back) / (2 * step) for front, back in zip(ahead, behind, strict=True)]
