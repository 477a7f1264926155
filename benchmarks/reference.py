"""What a case should give: outputs, and one directional derivative for each element of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import cvxpy as cp
import numpy as np
import numpy.typing as npt

from benchmarks.contestant import Values
from benchmarks.formulation import Formulation
from benchmarks.oracle import Certified, Oracle, UncertifiedError

STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
"""Steps of the differences, relative to the size of the parameters, tried from the longest."""

DIFFERENCE_TOLERANCE = 1e-8
"""Estimated relative error at which a difference is taken at once; otherwise the best of all steps is."""


@final
@dataclass(frozen=True, eq=False)
class Reference:
    """For a batch of `values` (of the catalogue's form), random `tangents` of them and `cotangents` of the outputs.

    outputs: NaN for an element without a certified solution.
    slopes: <cotangents, d outputs> along the tangents for each element, NaN where there is none: without a certified
        solution, or with other active rows a step away.
    error: the largest estimated error of a slope, relative as in `accuracy.gradient_error`.
    remarks: what was left out, and why.
    """

    values: Values
    tangents: Values
    cotangents: Values
    outputs: Values
    slopes: npt.NDArray[np.float64]
    error: float
    remarks: tuple[str, ...]


def make_reference(form: Formulation, parameters: tuple[cp.Parameter, ...], values: Values, seed: int) -> Reference:
    """The reference for the catalogue's `parameters` at `values`, computed in the plain form `form`."""
    rng = np.random.default_rng(seed)
    oracle, batch = Oracle(form.instance), len(values[0])
    tangents = tuple(_tangent(*pair, rng) for pair in zip(parameters, values, strict=True))
    shapes = [output.shape for output in form.instance.outputs]
    cotangents = tuple(rng.standard_normal((batch, *shape)) for shape in shapes)
    outputs = tuple(np.full((batch, *shape), np.nan) for shape in shapes)
    slopes, errors = np.full(batch, np.nan), np.full(batch, np.nan)
    uncertified, kinks = [], 0
    for index in range(batch):
        value, tangent, cotangent = (tuple(part[index] for part in each) for each in (values, tangents, cotangents))
        try:
            base = oracle.solve(form.values(value))
        except UncertifiedError as reason:
            uncertified.append(str(reason))
            continue
        for output, reference in zip(outputs, base.outputs, strict=True):
            output[index] = reference
        slopes[index], errors[index] = _slope(oracle, form, base, (value, tangent, cotangent))
        kinks += bool(np.isnan(slopes[index]))
    remarks = []
    if uncertified:
        remarks.append(f"{len(uncertified)} of {batch} elements have no certified solution ({uncertified[0]})")
    if kinks:
        remarks.append(f"{kinks} of {batch} elements have no slope: other rows are active {STEPS[-1]:.0e} away")
    size = np.sqrt(np.nanmean(slopes**2)) if np.isfinite(slopes).any() else np.nan
    error = float(np.nanmax(errors / np.fmax(np.abs(slopes), size))) if np.isfinite(errors).any() else np.nan
    return Reference(values, tangents, cotangents, outputs, slopes, error, tuple(remarks))


def _tangent(parameter: cp.Parameter, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A direction of the size of the values that keeps the attributes of the parameter."""
    noise, attributes = rng.standard_normal(values.shape), parameter.attributes
    if attributes["nonneg"] or attributes["diag"] or attributes["sparsity"]:
        return np.asarray(values * noise)
    if attributes["symmetric"] or attributes["PSD"]:
        noise = (noise + noise.swapaxes(-2, -1)) / 2
    return np.asarray(noise * np.sqrt(np.mean(values**2)))


def _slope(
    oracle: Oracle, form: Formulation, base: Certified, point: tuple[Values, Values, Values]
) -> tuple[float, float]:
    """Fourth-order central differences at h and h / 2: the better one, and their distance as its error.

    Truncation is of order h^4, noise of rounding / h. Every point is certified to have the active rows of `base`.
    """
    value, tangent, cotangent = point

    def height(t: float) -> float:
        moved = tuple(part + t * direction for part, direction in zip(value, tangent, strict=True))
        outputs = oracle.follow(form.values(moved), base).outputs
        return sum(float(np.sum(g * output)) for g, output in zip(cotangent, outputs, strict=True))

    best = (np.nan, np.nan)
    for h in STEPS:
        try:
            d1, d2, d3 = (height(t * h) - height(-t * h) for t in (0.5, 1.0, 2.0))
        except (UncertifiedError, np.linalg.LinAlgError):
            continue
        fine, coarse = (8 * d1 - d2) / (6 * h), (8 * d2 - d3) / (12 * h)
        error = abs(fine - coarse)
        if not error >= best[1]:
            best = (fine, error)
        if best[1] <= DIFFERENCE_TOLERANCE * abs(fine):
            break
    return best
