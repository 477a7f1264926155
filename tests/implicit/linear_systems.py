"""Solvers of linear systems, systems of increasing difficulty, and the error that a solution may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from optlayers.errors import DerivativeError
from optlayers.implicit import (
    GMRES,
    LSMR,
    LU,
    AbstractLinearSolver,
    BiCGStab,
    ConjugateGradients,
    FixedPointIteration,
    Framework,
    Iterated,
    LinearInfo,
    LinearOperator,
    Neumann,
    Newton,
    NormalConjugateGradients,
)
from optlayers.jax import root as jax_root
from optlayers.jax.framework import JAX
from optlayers.torch import root as torch_root
from optlayers.torch.framework import TORCH


@final
@dataclass(frozen=True)
class Arrays:
    """A framework, its arrays of NumPy's, `root`, the gradient of a function of one array, and the error in which that
    of a derivative arrives."""

    name: str
    framework: Framework
    array: Callable[[Any], Any]
    root: Callable[..., Any]
    grad: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]
    error: type[Exception]


FRAMEWORKS = (
    Arrays("torch", TORCH, torch.as_tensor, torch_root, torch.func.grad, DerivativeError),
    Arrays("jax", JAX, jnp.asarray, jax_root, jax.grad, Exception),
)

SOLVERS: dict[str, AbstractLinearSolver] = {
    "LU": LU(),
    "GMRES": GMRES(),
    "GMRES(4)": GMRES(restart=4),
    "BiCGStab": BiCGStab(),
    "CG": ConjugateGradients(),
    "CGNR": NormalConjugateGradients(),
    "LSMR": LSMR(),
    "Neumann": Neumann(terms=400),
    "fixed point": Iterated.of(FixedPointIteration()),
    "Newton": Iterated.of(Newton()),
}

KRYLOV = ("GMRES", "BiCGStab", "CG", "CGNR", "LSMR")
LEAST_SQUARES = ("CGNR", "LSMR")

each_framework = pytest.mark.parametrize("arrays", FRAMEWORKS, ids=lambda arrays: arrays.name)
# The solvers are written once: what follows from the numbers alone is tested in one framework.
one_framework = pytest.mark.parametrize("arrays", FRAMEWORKS[:1], ids=lambda arrays: arrays.name)
every_solver = pytest.mark.parametrize("name", SOLVERS)


def operator(arrays: Arrays, matrix: np.ndarray) -> LinearOperator:
    A = arrays.array(matrix)
    return LinearOperator.of(
        arrays.framework, lambda v: (A @ v[..., None])[..., 0], arrays.array(np.zeros(matrix.shape[:-1], matrix.dtype))
    )


def solve(
    arrays: Arrays, solver: AbstractLinearSolver, matrix: np.ndarray, rhs: np.ndarray, transpose: bool = False
) -> tuple[np.ndarray, LinearInfo]:
    A = operator(arrays, matrix)
    u, info, _ = solver.solve(A.transpose if transpose else A, arrays.array(rhs))
    return np.asarray(u), LinearInfo(*map(np.asarray, info))


def matrices(solver: AbstractLinearSolver, n: int = 8, seed: int = 0) -> np.ndarray:
    """Of increasing difficulty: I - A has the norms 0.01, 0.3 and 0.9. Symmetric where the solver needs it."""
    K = np.random.default_rng(seed).standard_normal((3, n, n))
    if solver.symmetric_only:
        K = K + np.swapaxes(K, -1, -2)
    K /= np.linalg.norm(K, ord=2, axis=(-2, -1))[:, None, None]
    return np.eye(n) - np.array([0.01, 0.3, 0.9])[:, None, None] * K


def check_solution(solver: AbstractLinearSolver, A: np.ndarray, rhs: np.ndarray, u: np.ndarray) -> None:
    """The error is at most |A^-1| times the residual that the solver may leave, and rounding.

    An iteration's residual is measured by its largest entry: by at most sqrt(n) times as much in the Euclidean norm.
    """
    x = np.linalg.solve(A, np.broadcast_to(rhs, u.shape)[..., None])[..., 0]
    smallest = np.linalg.norm(A, ord=-2, axis=(-2, -1))
    eps = float(np.finfo(u.dtype).eps)
    part = max(solver.tolerance, 16 * eps) * (rhs.shape[-1] ** 0.5 if isinstance(solver, Iterated) else 1)
    rounding = 10 * rhs.shape[-1] * eps * np.linalg.cond(A)
    length = np.linalg.norm(rhs, axis=-1)
    assert (np.linalg.norm(u - x, axis=-1) <= (part + rounding) * length / smallest).all()
