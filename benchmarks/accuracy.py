"""How far the answers of a contestant are from the reference."""

from __future__ import annotations

import warnings

import numpy as np

from benchmarks.contestant import Values
from benchmarks.reference import Reference


def solution_error(outputs: Values, reference: Reference) -> float:
    """max |output - reference| / max |reference|, the second maximum over the batch; the largest over the outputs.

    Elements without a certified solution do not count; NaN if none has one.
    """
    return max(_relative(*pair) for pair in zip(outputs, reference.outputs, strict=True))


def gradient_error(gradients: Values, tangents: Values, reference: Reference) -> float:
    """max |<gradients, tangents> - slope| / max(|slope|, root mean square of the slopes), over the elements."""
    found = sum(
        np.sum((gradient * tangent).reshape(len(gradient), -1), axis=1)
        for gradient, tangent in zip(gradients, tangents, strict=True)
    )
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        size = np.sqrt(np.nanmean(reference.slopes**2))
        error = np.abs(found - reference.slopes) / np.fmax(np.abs(reference.slopes), size)
        # A contestant's own NaN is an infinite error.
        return float(np.nanmax(np.where(np.isfinite(reference.slopes) & ~np.isfinite(error), np.inf, error)))


def _relative(output: np.ndarray, reference: np.ndarray) -> float:
    known = np.isfinite(reference)
    if not known.any():
        return float("nan")
    error = np.abs(output[known] - reference[known]).max() / max(np.abs(reference[known]).max(), np.finfo(float).tiny)
    return float(error) if np.isfinite(error) else float("inf")
