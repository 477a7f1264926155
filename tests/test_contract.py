"""What the front-ends compose with: one contract, for a family of each cone, against the plain path.

For second derivatives the plain path is forward over reverse mode, whose exactness `test_second_derivatives` shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import NAMES, Case, case_of
from framework import Framework
from framework_jax import JAX
from framework_torch import TORCH

from optlayers.solution_map import ConeSolutionMap

pytestmark = pytest.mark.usefixtures("without_checks")

TOLERANCE = 1e-10
FRAMEWORKS = (TORCH, JAX)


@pytest.fixture(params=FRAMEWORKS, ids=lambda framework: framework.name)
def framework(request: pytest.FixtureRequest) -> Framework:
    result: Framework = request.param
    return result


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, framework: Framework) -> Case:
    return case_of(framework, request.param)


def same(ours: Any, plain: np.ndarray) -> None:
    array = np.asarray(ours)
    assert array.shape == plain.shape
    np.testing.assert_allclose(array, plain, rtol=TOLERANCE, atol=TOLERANCE * np.abs(plain).max(initial=1e-300))


def test_values(case: Case) -> None:
    t, many = case.framework, np.stack([case.plain(row) for row in range(len(case.batch))])
    same(case.f(case.point()), case.plain())
    same(case.f(case.points()), many)
    same(t.vmap(case.f)(case.points()), many)
    same(t.vmap(t.vmap(case.f))(case.points().reshape(2, 1, 3)), many.reshape(2, 1, -1))
    same(t.vmap(case.f, 1)(case.points().T), many)


def test_compiled_values_and_gradients(case: Case) -> None:
    t = case.framework
    same(t.jit(case.f)(case.point()), case.plain())
    same(
        t.vmap(t.jit(case.f))(case.points()) if t.name == "jax" else t.jit(t.vmap(case.f))(case.points()),
        np.stack([case.plain(row) for row in range(len(case.batch))]),
    )
    same(
        t.grad(t.jit(case.loss))(case.point()) if t.name == "jax" else _torch_gradient(t.jit(case.loss), case.z),
        case.gradient(),
    )


def _torch_gradient(function: Any, z: np.ndarray) -> Any:
    import torch

    point = torch.tensor(z, requires_grad=True)
    function(point).backward()
    return point.grad


def test_first_derivatives(case: Case) -> None:
    t, J, d = case.framework, case.jacobian(), case.framework.array(np.array([0.3, -1.0, 0.7]))

    def transformed(z: Any) -> tuple[Any, ...]:
        return (
            t.grad(case.loss)(z),
            t.vjp(case.f, z, case.weights),
            t.jvp(case.f, z, d),
            t.jacfwd(case.f)(z),
            t.jacrev(case.f)(z),
        )

    plain = (case.gradient(), case.cotangent @ J, J @ np.asarray(d), J, J)
    for ours, expected in zip(t.whole(transformed)(case.point()), plain, strict=True):
        same(ours, expected)
    same(t.grad(case.loss)(case.point()), case.gradient())
    same(t.linearize(case.f, case.point(), d), J @ np.asarray(d))


def test_checkpoint(case: Case) -> None:
    loss = case.framework.checkpoint(case.loss)
    if case.framework.name == "torch":  # PyTorch checkpoints for autograd, not for torch.func
        same(_torch_gradient(loss, case.z), case.gradient())
    else:
        same(case.framework.whole(case.framework.grad(loss))(case.point()), case.gradient())


def test_batched_first_derivatives(case: Case) -> None:
    t, rows = case.framework, range(len(case.batch))
    gradients, jacobians = (np.stack([of(row) for row in rows]) for of in (case.gradient, case.jacobian))
    same(t.vmap(t.grad(case.loss))(case.points()), gradients)

    def transformed(z: Any) -> tuple[Any, ...]:
        return (
            t.grad(lambda z: t.vmap(case.loss)(z).sum())(z),
            t.vmap(t.vmap(t.grad(case.loss)))(z.reshape(2, 1, 3)).reshape(2, 3),
            t.vmap(t.jacrev(case.f))(z),
            t.vmap(t.jacfwd(case.f))(z),
        )

    for ours, plain in zip(
        t.whole(transformed)(case.points()), (gradients, gradients, jacobians, jacobians), strict=True
    ):
        same(ours, plain)


def test_second_derivatives(case: Case) -> None:
    t, z = case.framework, case.point()
    plain = np.asarray(t.jacfwd(t.grad(case.loss))(z))
    same(plain, plain.T)
    d = t.array(np.array([0.3, -1.0, 0.7]))
    hessians = (
        t.hessian(case.loss),
        t.jacrev(t.grad(case.loss)),
        t.jacrev(t.jacrev(case.loss)),
        t.jacfwd(t.jacfwd(case.loss)),
        t.jacrev(t.jacfwd(case.loss)),
        lambda z: t.jacrev(lambda z: t.vmap(t.grad(case.loss))(z[None])[0])(z),
        lambda z: t.vmap(t.hessian(case.loss))(z[None])[0],
    )
    for ours in t.whole(lambda z: tuple(hessian(z) for hessian in hessians))(z):
        same(ours, plain)
    products = (
        lambda z: t.jvp(t.grad(case.loss), z, d),
        t.grad(lambda z: (t.grad(case.loss)(z) * d).sum()),
    )
    for ours in t.whole(lambda z: tuple(product(z) for product in products))(z):
        same(ours, plain @ np.asarray(d))
    penalties = (
        t.grad(lambda z: (t.jacrev(case.f)(z) ** 2).sum()),
        t.jacfwd(lambda z: (t.jacfwd(case.f)(z) ** 2).sum()),
    )
    one, other = t.whole(lambda z: tuple(penalty(z) for penalty in penalties))(z)
    same(one, np.asarray(other))


@pytest.mark.parametrize("cone", ["linear", "second-order"])
def test_one_batched_solve_in_any_nesting(framework: Framework, cone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of(framework, cone)
    counts = {"forward": 0, "derivative": 0, "second_derivative": 0}

    def counted(name: str) -> None:
        inner = getattr(ConeSolutionMap, name)

        def method(*arguments: Any) -> Any:
            counts[name] += 1
            return inner(*arguments)

        monkeypatch.setattr(ConeSolutionMap, name, method)

    for name in counts:
        counted(name)
    t, z = case.framework, case.points().reshape(2, 1, 3)
    t.vmap(t.vmap(t.grad(case.loss)))(z)
    assert counts == {"forward": 1, "derivative": 1, "second_derivative": 0}
    t.vmap(t.vmap(t.jacrev(case.f)))(z)
    assert counts == {"forward": 2, "derivative": 2, "second_derivative": 0}
    t.vmap(t.jacfwd(t.grad(case.loss)))(case.points())
    assert counts["forward"] == 3
    assert counts["second_derivative"] == 1


@pytest.mark.parametrize("cone", ["linear", "second-order"])
def test_any_subset_of_arguments_is_batched(framework: Framework, cone: str) -> None:
    case, t = case_of(framework, cone), framework
    values = [t.array(value) for value in case.instance.values]
    plain = case.layer(*values)
    for axis in range(len(values)):
        dims = tuple(0 if place == axis else None for place in range(len(values)))
        batched = [value[None] if place == axis else value for place, value in enumerate(values)]
        for ours, one in zip(t.vmap(lambda *v: case.layer(*v), dims)(*batched), plain, strict=True):
            same(ours, np.asarray(one)[None])

        def loss(value: Any, axis: int = axis) -> Any:
            return sum(part.sum() for part in case.layer(*values[:axis], value, *values[axis + 1 :]))

        shared = t.grad(lambda value: t.vmap(lambda scale: loss(value * scale))(t.array(np.ones(3))).sum())(
            values[axis]
        )
        same(shared, 3 * np.asarray(t.grad(loss)(values[axis])))


@pytest.mark.parametrize("cone", ["linear", "semidefinite"])
def test_empty_and_single_batches(framework: Framework, cone: str) -> None:
    case, t = case_of(framework, cone), framework
    single = t.vmap(t.grad(case.loss))(case.point()[None])
    same(single[0], case.gradient())
    for shape in ((0,), (2, 0), (0, 2)):
        values = [t.array(np.zeros((*shape, *value.shape)) + value) for value in case.instance.values]
        outputs = case.layer(*values)
        for output, one in zip(outputs, case.instance.outputs, strict=True):
            assert tuple(output.shape) == (*shape, *one.shape)
        others = values[1:]
        gradient = t.grad(lambda value, others=others: sum(part.sum() for part in case.layer(value, *others)))(
            values[0]
        )
        assert tuple(gradient.shape) == tuple(values[0].shape)
