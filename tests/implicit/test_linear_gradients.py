"""Solvers of linear systems in the gradients of roots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from implicit.linear_systems import SOLVERS, Arrays, each_framework, every_solver, matrices

from optlayers.errors import AccuracyWarning, OptionError
from optlayers.implicit import BiCGStab, ConjugateGradients, FixedPointIteration, Neumann


@each_framework
def test_a_cotangent_that_is_zero_needs_no_regular_matrix(arrays: Arrays) -> None:
    """Nothing is said of elements on which the loss does not depend: of those without a root, and of z^2 = 0 at 0."""

    def F(z: Any, a: Any) -> Any:
        return a * z**2 - arrays.array(np.array([[1.0], [4.0], [-1.0], [0.0]]))

    def solved(a: Any) -> Any:
        z0 = arrays.array(np.array([[1.0], [1.0], [1.0], [0.0]]))
        return arrays.root(F, z0, a, batch_axes=1, on_failure="warn")[:2].sum()

    with pytest.warns(AccuracyWarning, match=r"root was not solved.*for 1 of 4"):
        g = arrays.grad(solved)(arrays.array(np.array(1.0)))
    np.testing.assert_allclose(float(g), -1.5, rtol=1e-9)


@each_framework
@every_solver
def test_gradient_through_root(arrays: Arrays, name: str) -> None:
    """F = A z - b + c z^3 elementwise, A symmetric: dz = (A + 3 c diag(z^2))^-1 db."""
    A = matrices(ConjugateGradients())[1]
    weight = np.random.default_rng(7).standard_normal(8)
    b = np.random.default_rng(8).standard_normal(8)
    matrix, w = arrays.array(A), arrays.array(weight)
    backward = SOLVERS[name]
    if name == "CG":  # Not symmetric by the form of the equation, though by its value.
        with pytest.raises(OptionError, match="symmetric"):
            arrays.root(lambda z, b: matrix @ z - b, arrays.array(0 * b), arrays.array(b), backward=backward)
        return
    if name == "fixed point":
        backward = FixedPointIteration()

    def z(b: Any) -> Any:
        return arrays.root(lambda z, b: matrix @ z - b + 0.01 * z**3, arrays.array(0 * b), b, backward=backward)

    g = np.asarray(arrays.grad(lambda b: (w * z(b)).sum())(arrays.array(b)))
    expected = np.linalg.solve(A + 0.03 * np.diag(np.asarray(z(arrays.array(b))) ** 2), weight)
    np.testing.assert_allclose(g, expected, rtol=0, atol=1e-6)


@each_framework
def test_what_the_user_is_told(arrays: Arrays) -> None:
    rotation = arrays.array(np.array([[0.0, 1.0], [-1.0, 0.0]]))

    def gradient(backward: Any) -> Any:
        def z(b: Any) -> Any:
            return arrays.root(lambda z, b: rotation @ z - b, arrays.array(np.zeros(2)), b, backward=backward)

        return arrays.grad(lambda b: z(b).sum())(arrays.array(np.ones(2)))

    with pytest.raises(arrays.error, match="numerical error"):
        gradient(BiCGStab())
    with pytest.raises(arrays.error, match="diverged"):
        gradient(Neumann(terms=3))


@each_framework
def test_a_truncated_series_is_given_with_a_warning(arrays: Arrays) -> None:
    def z(b: Any) -> Any:
        return arrays.root(lambda z, b: 0.5 * z - b, arrays.array(np.zeros(2)), b, backward=Neumann(terms=2))

    with pytest.warns(AccuracyWarning, match="Neumann"):
        g = arrays.grad(lambda b: z(b).sum())(arrays.array(np.ones(2)))
    np.testing.assert_allclose(np.asarray(g), 1.5)
