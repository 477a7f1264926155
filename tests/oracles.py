"""Independent oracles: each raises, or returns numbers to compare with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import cvxpy as cp
import jaxtyping
import numpy as np
from problems import Instance, assign

Arrays = tuple[np.ndarray, ...]


@contextmanager
def unchecked() -> Iterator[None]:
    """Without the run-time checks of shapes and types, which make functions several times slower, and hide them from
    compilers."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


STEP = 1e-6
"""Step of central differences: truncation is of the order STEP^2, rounding of the order 1e-16 / STEP."""


def random_directions(instance: Instance, rng: np.random.Generator) -> Arrays:
    """A random direction for each parameter within its declared structure (symmetric, diagonal, sparse)."""
    return tuple(
        _within_structure(parameter, rng.standard_normal(parameter.shape)) for parameter in instance.parameters
    )


def _within_structure(parameter: cp.Parameter, direction: np.ndarray) -> np.ndarray:
    attributes = parameter.attributes
    if attributes["symmetric"] or attributes["PSD"] or attributes["NSD"]:
        return (direction + direction.T) / 2
    if attributes["diag"]:
        return np.diag(np.diag(direction))
    if parameter.sparse_idx is not None:
        kept = np.zeros_like(direction)
        kept[parameter.sparse_idx] = direction[parameter.sparse_idx]
        return kept
    return direction


def central_difference(
    function: Callable[..., Sequence[np.ndarray]], values: Sequence[np.ndarray], direction: Sequence[np.ndarray]
) -> np.ndarray:
    """(f(values + h d) - f(values - h d)) / 2h, all outputs in one vector."""
    with unchecked():
        ahead = flatten(function(*(value + STEP * d for value, d in zip(values, direction, strict=True))))
        behind = flatten(function(*(value - STEP * d for value, d in zip(values, direction, strict=True))))
    return (ahead - behind) / (2 * STEP)


def flatten(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """All entries in one vector."""
    return np.concatenate([np.asarray(array, dtype=np.float64).ravel() for array in arrays])


def require_close(ours: np.ndarray, oracle: np.ndarray, tolerance: float) -> None:
    """Raise unless ours is within `tolerance` of the oracle, relative to the oracle's largest entry."""
    assert ours.shape == oracle.shape
    assert np.isfinite(ours).all()
    error, size = np.abs(ours - oracle).max(), np.abs(oracle).max()
    assert error <= tolerance * size, f"error {error:.2e}, relative {error / size:.2e}"


def cvxpy_solution(instance: Instance, values: Sequence[np.ndarray]) -> Arrays:
    """The outputs as CVXPY itself computes them, by Clarabel at a tolerance of 1e-11."""
    assign(instance, values)
    tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-11)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Reading from a sparse CVXPY expression", category=RuntimeWarning)
        instance.problem.solve(solver=cp.CLARABEL, gp=instance.gp, **tolerances)
    assert instance.problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)
    return tuple(
        np.asarray(output.dual_value if isinstance(output, cp.Constraint) else output.value)
        for output in instance.outputs
    )
