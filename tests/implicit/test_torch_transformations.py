"""Implicit layers in PyTorch: every nesting of its transformations, and its older interfaces."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from implicit.torch_closed_forms import CASES, close, cubic, cubic_exact, linear, linear_exact, matrix, normal

from optlayers.errors import DerivativeError
from optlayers.torch import argmin, fixed_point, root

NAMES = ["linear", "cubic"]


each_case = pytest.mark.parametrize(("ours", "exact", "point"), CASES, ids=NAMES)


TRANSFORMATIONS: dict[str, Callable[[Callable[..., Any], int], Callable[..., Any]]] = {
    "value": lambda f, n: f,
    "jacrev": torch.func.jacrev,
    "jacfwd": torch.func.jacfwd,
    "hessian": lambda f, n: torch.func.hessian(f, argnums=n),
    "reverse over reverse": lambda f, n: torch.func.jacrev(torch.func.jacrev(f, n), 1 - n),
    "forward over forward": lambda f, n: torch.func.jacfwd(torch.func.jacfwd(f, n), 1 - n),
    "reverse over forward": lambda f, n: torch.func.jacrev(torch.func.jacfwd(f, n), 1 - n),
}


@each_case
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_derivatives_are_those_of_the_closed_form(name: str, ours: Any, exact: Any, point: Any) -> None:
    transform = TRANSFORMATIONS[name]
    for argument in (0,) if name == "value" else (0, 1):
        close(transform(ours, argument)(*point), transform(exact, argument)(*point))


def test_third_derivatives_are_those_of_the_closed_form() -> None:
    for first in (torch.func.jacrev, torch.func.jacfwd):
        p, q = CASES[1][2]
        close(*(first(torch.func.hessian(f, argnums=1), 0)(p, q) for f in (cubic, cubic_exact)))


@each_case
@pytest.mark.parametrize("derivative", ["value", "jacrev", "jacfwd"])
def test_vmap_over_any_arguments_nested_twice(
    ours: Any, exact: Any, point: Any, derivative: str, without_checks: None
) -> None:
    subsets = [dims for dims in product((0, None), repeat=2) if dims != (None, None)]
    for outer, inner in product(subsets, repeat=2):
        values = []
        for place, value in enumerate(point):
            axes = [2, 3]
            shape = [axis for axis, dims in zip(axes, (outer, inner), strict=True) if dims[place] == 0]
            scale = 1 + torch.arange(torch.Size(shape).numel(), dtype=torch.float64).reshape(torch.Size(shape)) / 10
            values.append(value * scale.reshape((*shape, *(1,) * value.dim())))

        def mapped(f: Any) -> Any:
            g = TRANSFORMATIONS[derivative](f, 1)
            return torch.vmap(torch.vmap(g, in_dims=inner), in_dims=outer)(*values)  # noqa: B023

        close(mapped(ours), mapped(exact))


def test_checks_of_gradients(without_checks: None) -> None:
    inputs = tuple(value.clone().requires_grad_() for value in CASES[1][2])
    assert torch.autograd.gradcheck(
        cubic, inputs, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(cubic, inputs, check_fwd_over_rev=True, check_batched_grad=True)


def test_batched_cotangents_that_are_differentiated_again_are_refused() -> None:
    q = CASES[1][2][1].clone().requires_grad_()
    z = cubic(CASES[1][2][0], q)
    with pytest.raises(DerivativeError, match="create_graph=True do not work"):
        torch.autograd.grad(z, q, torch.ones(2, dtype=torch.float64), is_grads_batched=True, create_graph=True)


@each_case
def test_older_interfaces(ours: Any, exact: Any, point: Any) -> None:
    functional = torch.autograd.functional
    strategies = ({}, {"vectorize": True}, {"vectorize": True, "strategy": "forward-mode"})
    expected = torch.func.jacrev(exact, argnums=(0, 1))(*point)
    for options in strategies:
        for one, other in zip(functional.jacobian(ours, point, **options), expected, strict=True):
            close(one, other)
    leaf = point[1].clone().requires_grad_()
    z = ours(point[0], leaf)
    rows = torch.eye(z.numel(), dtype=torch.float64).reshape(-1, *z.shape)
    (batched,) = torch.autograd.grad(z, leaf, rows, is_grads_batched=True)
    close(batched.reshape(expected[1].shape), expected[1])
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(point[1], torch.ones_like(point[1]))
        tangent = forward_ad.unpack_dual(ours(point[0], dual)).tangent
    close(tangent, torch.func.jvp(lambda b: exact(point[0], b), (point[1],), (torch.ones_like(point[1]),))[1])


def test_a_penalty_on_the_gradient() -> None:
    gradients = []
    for f in (linear, linear_exact):
        A = matrix().requires_grad_()
        (first,) = torch.autograd.grad(f(A, normal(3)).sin().sum(), A, create_graph=True)
        gradients.append(torch.autograd.grad(first.square().sum(), A)[0])
    close(*gradients)


def test_forms_agree() -> None:
    """b -> A^-1 b, as a root, a fixed point and a minimum, of a symmetric A."""
    A, b = matrix() @ matrix().T / 20, normal(3)
    forms = [
        lambda b: root(lambda z, b: A @ z - b, torch.zeros(3, dtype=torch.float64), b),
        lambda b: fixed_point(lambda z, b: z - (A @ z - b) / 3, torch.zeros(3, dtype=torch.float64), b),
        lambda b: argmin(lambda z, b: z @ A @ z / 2 - b @ z, torch.zeros(3, dtype=torch.float64), b),
    ]
    for form in forms:
        close(torch.func.jacrev(form)(b), torch.linalg.inv(A))
