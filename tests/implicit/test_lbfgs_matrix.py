"""The L-BFGS matrix, against the recursion that defines it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from optlayers.implicit import LBFGS, Equation, Problem
from optlayers.implicit.solvers.lbfgs import Pairs, _product, _with_pair
from optlayers.torch.framework import TORCH

N = 7
PROBLEM = Problem(TORCH, Equation("argmin", lambda z, theta: z, lambda z, theta: torch.sum(z * z, -1) / 2), ())


def two_loops(pairs: list[tuple[np.ndarray, np.ndarray]], v: np.ndarray) -> np.ndarray:
    """Nocedal (1980); pairs from the newest to the oldest."""
    weights = []
    for s, y in pairs:
        weights.append(s @ v / (s @ y))
        v = v - weights[-1] * y
    s, y = pairs[0]
    v = s @ y / (y @ y) * v
    for (s, y), weight in zip(reversed(pairs), reversed(weights), strict=True):
        v = v + (weight - y @ v / (s @ y)) * s
    return v


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_the_product_is_that_of_the_two_loop_recursion(depth: int, steps: int) -> None:
    rng = np.random.default_rng(steps)
    root = rng.standard_normal((N, N))
    second = root @ root.T + np.eye(N)
    v = rng.standard_normal((2, N))
    kept: list[list[tuple[np.ndarray, np.ndarray]]] = [[], []]
    memory = LBFGS(depth=depth).start(PROBLEM, torch.zeros(2, N, dtype=torch.float64), torch.as_tensor(v))
    pairs = Pairs(*memory[3:6])
    for step in range(steps):
        s = rng.standard_normal((2, N))
        y = s @ second
        if step % 3 == 1:
            y[1] = -y[1]  # of negative curvature: not kept
        pairs = _with_pair(PROBLEM, pairs, torch.as_tensor(s), torch.as_tensor(y))
        for place in range(2):
            if s[place] @ y[place] > 0:
                kept[place] = [(s[place], y[place]), *kept[place]][:depth]
    found = _product(PROBLEM, pairs, torch.as_tensor(v)).numpy()
    for place in range(2):
        expected = two_loops(kept[place], v[place])
        np.testing.assert_allclose(found[place], expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def test_pairs_are_forgotten_with_the_inverse() -> None:
    rng = np.random.default_rng(0)
    v = torch.as_tensor(rng.standard_normal(N))
    pairs = Pairs(*LBFGS(depth=3).start(PROBLEM, torch.zeros(N, dtype=torch.float64), v)[3:6])
    plain = _product(PROBLEM, pairs, v)
    for _ in range(2):
        s = torch.as_tensor(rng.standard_normal(N))
        pairs = _with_pair(PROBLEM, pairs, s, 2 * s)
    forgotten = pairs._replace(inverse=0 * pairs.inverse)
    np.testing.assert_array_equal(_product(PROBLEM, forgotten, v), plain)
    s = torch.as_tensor(rng.standard_normal(N))
    again = _with_pair(PROBLEM, forgotten, s, 3 * s)
    expected = two_loops([(s.numpy(), 3 * s.numpy())], v.numpy())
    np.testing.assert_allclose(_product(PROBLEM, again, v), expected, rtol=0, atol=1e-13)
