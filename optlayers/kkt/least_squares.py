"""Least-squares solutions of linear systems known by their products only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import scipy.sparse.linalg as spla
from jaxtyping import Bool, Float

from optlayers.arrays import Vector

STALLED = 0.5
"""A restart that leaves more than this part of the normal residual has brought no progress."""

OUTSIDE_TOLERANCE = 1e-8
"""A right-hand side is outside the range of M if a solution leaves more than this part of it, and what it leaves, rho,
is orthogonal to the range: |M'rho| <= OUTSIDE_TOLERANCE |M| |rho|. Nothing in the range is so orthogonal to it, if the
condition of M is below 1 / OUTSIDE_TOLERANCE."""


PROBE_TOLERANCE = 1e-10
"""Tolerance, or less, of the solves that look for the smallest singular value: where it is larger, rounding alone makes
no error that matters."""

CAUTION = 10.0
"""What the estimates of errors are multiplied by: of least squares of condition 1e7, they were up to 20 times too small
in the units of the data without it."""

MORE_ITERATIONS = 2
"""Iterations of the later probes, in units of those of the first."""

PROBES = 3
"""Most solves for each vector that M hardly sees."""

NULL_ROUNDING = 1e-15
"""A unit vector that M, relative to |M|, makes smaller than this is in its null space to working precision."""

RESOLVED = 1e-6
"""M sees a unit vector well if its least-squares solution leaves less than this of it."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class LeastSquares:
    """Solutions z of min |M z - r|_2 by columns, each of minimum norm.

    singular: whether r is not in the range of M.
    relative_residual: |r - M z| / max(|r|, |z|); where `singular`, |M'(r - M z)| / |M'r| instead, which vanishes at a
        solution of least squares.
    error: an estimate of the relative error: with rho = r - M z and s the smallest singular value that was found,
        CAUTION |rho| / (s |z|), since s is found from above; where `singular`, |M'rho| / (s^2 |z|). At least
        |rho|^2 / (|M'rho| |z|), which is a bound from below: z + e being a solution, |rho|^2 = e'M'rho.
    idle: a unit vector of the null space of M to working precision, or None if there is none.
    iterations: the most over the columns; those that looked for s and the null space are not counted.
    """

    solution: Float[np.ndarray, "columns k"]
    singular: Bool[np.ndarray, " k"]
    relative_residual: Float[np.ndarray, " k"]
    error: Float[np.ndarray, " k"]
    idle: Float[np.ndarray, " columns"] | None
    iterations: int


def least_squares(
    M: spla.LinearOperator,
    right: Float[np.ndarray, "rows k"],
    tolerance: float,
    max_iterations: int,
    known: Vector | None = None,
) -> LeastSquares:
    """LSMR (Fong and Saunders, 2011), restarted from its own residual until the normal residual |M'(r - M z)| / |M'r|
    is below `tolerance`, and what is left of r as well, or else orthogonal to the range of M.

    Restarts are iterative refinement: they remove the rounding that the recurrences of one run leave. From zero, and
    from what is left of r, the iterates stay in the range of M', where the solution of minimum norm is.

    `known` is a vector of the null space of M that neither counts as `idle` nor makes M singular.
    """
    weak = _weakest(M, min(tolerance, PROBE_TOLERANCE), max_iterations, known)
    count = right.shape[1]
    solution, left = np.zeros((M.shape[1], count)), right.copy()
    normal, singular = np.zeros(count), np.zeros(count, dtype=np.bool_)
    iterations = 0
    for column in range(count):
        r = right[:, column]
        start, length = _norm(M.rmatvec(r)), _norm(r)
        used, last, magnitude = 0, np.inf, 0.0
        singular[column] = start == 0 < length
        while start > 0 and np.isfinite(start) and used < max_iterations:
            run = _run(M, left[:, column], tolerance, max_iterations - used)
            candidate = solution[:, column] + run.solution
            remainder = r - M.matvec(candidate)
            error, remains = _norm(M.rmatvec(remainder)) / start, _norm(remainder)
            used, magnitude = used + max(run.iterations, 1), max(magnitude, run.magnitude)
            if not error < last:
                break
            solution[:, column], left[:, column], normal[column] = candidate, remainder, error
            orthogonality = error * start / (magnitude * remains) if remains > 0 else 0.0
            singular[column] = remains > OUTSIDE_TOLERANCE * length and orthogonality <= OUTSIDE_TOLERANCE
            reached = remains <= tolerance * max(length, _norm(candidate)) or orthogonality <= tolerance
            if (reached and error <= tolerance) or error > STALLED * last:
                break
            last = error
        iterations = max(iterations, used)
    # Nothing is outside the range of a square matrix without a null space: what is left is an error.
    singular &= weak.idle is not None
    remaining = np.linalg.norm(left, axis=0)
    sizes = np.linalg.norm(solution, axis=0)
    scale = np.maximum(np.linalg.norm(right, axis=0), sizes)
    relative = np.where(singular, normal, remaining / np.where(scale > 0, scale, 1.0))
    errors = np.array(
        [weak.error(M, left[:, column], float(sizes[column]), bool(singular[column])) for column in range(count)]
    )
    return LeastSquares(solution, singular, relative, errors, weak.idle, iterations)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Weakest:
    """The smallest singular value of M that is not zero to working precision, as far as it was found: `gain`, an upper
    bound, infinite if nothing but null vectors was found. `idle` is one of these, `magnitude` an estimate of |M|.
    """

    gain: float
    idle: Vector | None
    magnitude: float

    def error(self, M: spla.LinearOperator, left: Vector, size: float, singular: bool) -> float:
        """The estimate of the relative error of a solution of that size that leaves `left`, as `LeastSquares` says."""
        remains, normal = _norm(left), _norm(M.rmatvec(left))
        if not (size > 0 and np.isfinite(remains)):
            return 0.0
        if singular:
            return normal / self.gain**2 / size
        # The products themselves are rounded.
        rounding = np.finfo(np.float64).eps * self.magnitude * size
        below = remains**2 / normal / size if remains > rounding and normal > 0 else 0.0
        return max(CAUTION * remains / self.gain / size, below)


def _weakest(M: spla.LinearOperator, tolerance: float, limit: int, known: Vector | None) -> _Weakest:
    """What M hardly sees of a random vector p: y = p - z, z being LSMR's solution of M z = M p.

    z has all of p in the range of M' but for singular values below `tolerance`, and M y is small by construction, so
    that |M y| / |y| bounds the smallest singular value from above. Starting again from y sharpens it. If that ends at a
    null vector, the smallest other singular value is estimated by inverse iteration from z, in the range of M': it is
    at most |z| / |t| for M't = z.
    """
    aside = None if known is None else known / _norm(known)
    p = _orthogonal(np.random.default_rng(0).standard_normal(M.shape[1]), aside)
    gain, magnitude, seen = np.inf, 0.0, np.zeros_like(p)
    for probe in range(PROBES):
        p = p / _norm(p)
        run = _run(M, M.matvec(p), tolerance, limit)
        magnitude = max(magnitude, run.magnitude)
        if probe == 0:
            # What is left of p may be rounding, which no iterations bring to any tolerance.
            seen, limit = run.solution, min(limit, MORE_ITERATIONS * max(run.iterations, 1))
        rest = _orthogonal(p - run.solution, aside)
        remains = _norm(rest)
        if remains == 0:
            break
        p = rest
        gain = min(gain, _norm(M.matvec(p)) / remains)
        if remains <= RESOLVED or gain <= NULL_ROUNDING * magnitude:
            break
    if remains <= RESOLVED or gain > NULL_ROUNDING * magnitude:
        return _Weakest(gain, None, magnitude)
    # What is left of small singular values in the null vector is seen well by now.
    p = p / remains
    p = _orthogonal(p - _run(M, M.matvec(p), tolerance, limit).solution, aside)
    other = _norm(_run(M.adjoint(), seen, tolerance, limit).solution)
    return _Weakest(_norm(seen) / other if other > 0 else np.inf, p / _norm(p), magnitude)


def _orthogonal(vector: Vector, unit: Vector | None) -> Vector:
    """The vector without its part along the unit vector, if there is one, taken off twice against rounding."""
    if unit is None:
        return vector
    vector = vector - unit * (unit @ vector)
    orthogonal: Vector = vector - unit * (unit @ vector)
    return orthogonal


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One run of LSMR; `magnitude` is its estimate of |M|, of at most the Frobenius norm."""

    solution: Float[np.ndarray, " columns"]
    iterations: int
    magnitude: float


def _run(M: spla.LinearOperator, right: Vector, tolerance: float, limit: int) -> _Run:
    result = spla.lsmr(M, right, atol=tolerance, btol=tolerance, conlim=0, maxiter=limit)
    return _Run(result[0], int(result[2]), float(result[5]))


def _norm(vector: Vector) -> float:
    return float(np.linalg.norm(vector))
