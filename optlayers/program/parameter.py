"""A parameter of a compiled problem, and what its values must satisfy."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from optlayers.errors import ArgumentError

SYMMETRY_TOLERANCE = 1e-5
"""Largest |V - V'| accepted for a symmetric parameter, relative to max |V|: rounding in float32 and steps of
finite differences pass. The layer reads the symmetric part (V + V') / 2."""

BOUND_TOLERANCE = 2.0**-23
"""Largest excess over a bound accepted, relative to the bound: a bound that was rounded to float32 passes."""

SEMIDEFINITE_TOLERANCE = 1e-6
"""Most negative eigenvalue accepted for a semidefinite parameter, relative to max |V|: rounding in float32 passes."""

SEMIDEFINITE_ROUNDING = 16 * np.finfo(np.float64).eps
"""Most negative eigenvalue that is rounding in float64, for each row and relative to max |V|: what is below it, and
within the tolerance, is accepted with a warning."""


class AbstractRule(abc.ABC):
    """A property that each value of a parameter must have, as declared in CVXPY."""

    @property
    @abc.abstractmethod
    def expectation(self) -> str:
        """What is expected, as it follows "must be"."""

    @abc.abstractmethod
    def holds(self, values: Float[np.ndarray, "B *shape"]) -> Bool[np.ndarray, " B"]:
        """Which of the values have the property."""


def _all(entries: Bool[np.ndarray, "B *shape"]) -> Bool[np.ndarray, " B"]:
    return np.asarray(entries.all(axis=tuple(range(1, entries.ndim))))


@final
@dataclass(frozen=True, slots=True)
class Sign(AbstractRule):
    """value >= 0, or > 0 if strict; the same for -value if `positive` is false."""

    positive: bool
    strict: bool

    @property
    def expectation(self) -> str:
        return (
            ("positive" if self.positive else "negative")
            if self.strict
            else ("nonnegative" if self.positive else "nonpositive")
        )

    def holds(self, values: Float[np.ndarray, "B *shape"]) -> Bool[np.ndarray, " B"]:
        signed = values if self.positive else -values
        return _all(signed > 0 if self.strict else signed >= 0)


def _rounding(bound: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """What is lost of a bound that was rounded to float32, or whose logarithm was."""
    size = np.abs(bound)
    ordinary = (size > 0) & np.isfinite(size)
    logarithm = np.abs(np.log(size, out=np.zeros_like(size), where=ordinary))
    return np.where(ordinary, BOUND_TOLERANCE * size * np.maximum(1.0, logarithm), 0.0)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Bounds(AbstractRule):
    """lower <= value <= upper elementwise, up to `BOUND_TOLERANCE`, of the bound or, where that is more, of its
    logarithm: theta may hold that of a value in float32."""

    lower: Float[np.ndarray, "*shape"]
    upper: Float[np.ndarray, "*shape"]

    @property
    def expectation(self) -> str:
        return "within its bounds"

    def holds(self, values: Float[np.ndarray, "B *shape"]) -> Bool[np.ndarray, " B"]:
        return _all((values >= self.lower - _rounding(self.lower)) & (values <= self.upper + _rounding(self.upper)))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Support(AbstractRule):
    """value = 0 outside the declared sparsity pattern (for a diagonal parameter, off the diagonal)."""

    mask: Bool[np.ndarray, "*shape"]

    @property
    def expectation(self) -> str:
        return "zero outside its declared sparsity pattern"

    def holds(self, values: Float[np.ndarray, "B *shape"]) -> Bool[np.ndarray, " B"]:
        return _all((values == 0) | self.mask)


@final
@dataclass(frozen=True, slots=True)
class Symmetric(AbstractRule):
    """value = value' up to `SYMMETRY_TOLERANCE`."""

    @property
    def expectation(self) -> str:
        return "symmetric"

    def holds(self, values: Float[np.ndarray, "B *shape"]) -> Bool[np.ndarray, " B"]:
        scale = np.abs(values).max(axis=(-2, -1), keepdims=True, initial=0)
        return _all(np.abs(values - values.swapaxes(-2, -1)) <= SYMMETRY_TOLERANCE * scale)


@final
@dataclass(frozen=True, slots=True)
class Semidefinite(AbstractRule):
    """value (or -value if `positive` is false) positive semidefinite up to `SEMIDEFINITE_TOLERANCE`.

    Tested by a Cholesky factorization of the symmetric part, shifted by the tolerance.
    """

    positive: bool

    @property
    def expectation(self) -> str:
        return "positive semidefinite" if self.positive else "negative semidefinite"

    def holds(self, values: Float[np.ndarray, "B *shape"]) -> Bool[np.ndarray, " B"]:
        return self._factors(values, SEMIDEFINITE_TOLERANCE)

    def holds_to_rounding(self, values: Float[np.ndarray, "B k k"]) -> Bool[np.ndarray, " B"]:
        """Which of the values have the property up to `SEMIDEFINITE_ROUNDING`."""
        return self._factors(values, SEMIDEFINITE_ROUNDING * max(values.shape[-1], 1))

    def _factors(self, values: Float[np.ndarray, "B k k"], tolerance: float) -> Bool[np.ndarray, " B"]:
        return np.array([self._factor(value, tolerance) for value in values], dtype=np.bool_).reshape(len(values))

    def _factor(self, value: Float[np.ndarray, "k k"], tolerance: float) -> bool:
        signed = (value + value.T) * (0.5 if self.positive else -0.5)
        shift = tolerance * np.abs(signed).max(initial=0)
        if shift == 0:
            return True
        try:
            np.linalg.cholesky(signed + shift * np.eye(len(signed)))
        except np.linalg.LinAlgError:
            return False
        return True


@final
@dataclass(frozen=True, eq=False)
class Parameter:
    """A named argument of a layer: its shape, and the rules that its values must satisfy.

    A `logarithmic` one enters theta by its logarithm, as the parameters of geometric programs do.
    """

    name: str
    shape: tuple[int, ...]
    rules: tuple[AbstractRule, ...]
    logarithmic: bool = False

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    def check(self, values: Float[np.ndarray, "B *shape"], batch: tuple[int, ...]) -> list[str]:
        """Raise `ArgumentError` unless every value is finite and satisfies all rules; `batch` is B unflattened.
        What is to be warned of is returned.

        The values are those of theta: logarithms, if the parameter is logarithmic.
        """
        if self.logarithmic:
            self._require(_all(np.isfinite(values)), "positive and finite", batch)
            values = np.exp(values)
        self._require(_all(np.isfinite(values)), "finite (no NaN, no infinity)", batch)
        doubts = []
        for rule in self.rules:
            if isinstance(rule, Semidefinite):
                exact = rule.holds_to_rounding(values)
                if exact.all():
                    continue
                doubts.append(
                    f"parameter '{self.name}' is {rule.expectation} only up to rounding in float32; the value given"
                    f"{_first(exact, batch)} has an eigenvalue of the wrong sign beyond rounding in float64. Where the "
                    "problem depends on it, the point returned may be a saddle point and no optimum. Add a small "
                    "multiple of the identity, or compute the value in float64."
                )
            self._require(rule.holds(values), rule.expectation, batch)
        return doubts

    def _require(self, holds: Bool[np.ndarray, " B"], expectation: str, batch: tuple[int, ...]) -> None:
        if holds.all():
            return
        raise ArgumentError(
            f"parameter '{self.name}' must be {expectation}; the value given{_first(holds, batch)} is not. "
            "Check what computes it, or how the parameter is declared in CVXPY."
        )


def _first(holds: Bool[np.ndarray, " B"], batch: tuple[int, ...]) -> str:
    """Where the first of what does not hold is, and how many more there are."""
    if not batch:
        return ""
    first = tuple(int(i) for i in np.unravel_index(int(np.argmin(holds)), batch))
    more = int((~holds).sum()) - 1
    return f" at batch index {first}" + (f" (and {more} more)" if more else "")
