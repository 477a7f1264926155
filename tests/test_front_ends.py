"""What both front-ends promise of dtypes, batches and modes, on one quadratic program."""

from __future__ import annotations

import copy
import pickle

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import optlayers
import optlayers.jax
import optlayers.torch
from optlayers.errors import DerivativeError, SolveError


def nonnegative_least_squares() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable | cp.Constraint]]:
    x, A, b = cp.Variable(3), cp.Parameter((4, 3), name="A"), cp.Parameter(4, name="b")
    bound = x >= 0
    return cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [bound]), [A, b], [x, bound]


PROBLEM = nonnegative_least_squares()
TORCH = optlayers.torch.CvxpyLayer(*PROBLEM)
JAX = optlayers.jax.CvxpyLayer(*PROBLEM)
NUMPY = optlayers.compile(*PROBLEM)
RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((4, 3)), RNG.standard_normal((2, 1, 4))
A_BATCH = A + 0.1 * RNG.standard_normal((3, 4, 3))


def test_batch_axes_broadcast_and_shared_parameters_receive_the_sum() -> None:
    """A (3, 4, 3) with b (2, 1, 4) is a batch (2, 3)."""
    solution = NUMPY.solve(A_BATCH, B)
    assert solution.outputs[0].shape == (2, 3, 3)
    a, b = torch.tensor(A_BATCH, requires_grad=True), torch.tensor(B, requires_grad=True)
    x, y = TORCH(a, b)
    np.testing.assert_array_equal(x.detach().numpy(), solution.outputs[0])
    np.testing.assert_array_equal(y.detach().numpy(), solution.outputs[1])
    g = RNG.standard_normal(x.shape), RNG.standard_normal(y.shape)
    torch.autograd.backward([x, y], [torch.tensor(part) for part in g])
    ours = NUMPY.vjp(solution, *g)
    _, pullback = jax.vjp(JAX, jnp.asarray(A_BATCH), jnp.asarray(B))
    for numpy_part, torch_part, jax_part in zip(
        ours, (a.grad, b.grad), pullback(tuple(map(jnp.asarray, g))), strict=True
    ):
        np.testing.assert_allclose(torch_part.numpy(), numpy_part, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(np.asarray(jax_part), numpy_part, rtol=1e-12, atol=1e-14)
    element = NUMPY.solve(A_BATCH[2], B[1, 0])
    np.testing.assert_allclose(
        sum(NUMPY.vjp(NUMPY.solve(A_BATCH[2], B[i, 0]), g[0][i, 2], g[1][i, 2])[0] for i in range(2)),
        ours[0][2],
        rtol=1e-12,
        atol=1e-14,
    )
    np.testing.assert_array_equal(element.outputs[0], solution.outputs[0][1, 2])


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_empty_batches(shape: tuple[int, ...]) -> None:
    b = np.zeros((*shape, 4))
    tensor = torch.tensor(b, requires_grad=True)
    x, _ = TORCH(torch.tensor(A), tensor)
    x.sum().backward()
    assert x.shape == (*shape, 3)
    assert tensor.grad.shape == b.shape
    assert JAX(A, b)[0].shape == (*shape, 3)
    assert jax.grad(lambda c: JAX(A, c)[0].sum())(jnp.asarray(b)).shape == b.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_torch_keeps_the_dtype_and_computes_in_double(dtype: torch.dtype) -> None:
    a, b = torch.tensor(A, dtype=dtype, requires_grad=True), torch.tensor(B, dtype=dtype)
    x, _ = TORCH(a, b)
    assert x.dtype == dtype
    exact = NUMPY.solve(a.detach().double().numpy(), b.double().numpy())
    np.testing.assert_array_equal(
        x.detach().double().numpy(), torch.tensor(exact.outputs[0]).to(dtype).double().numpy()
    )
    x.sum().backward()
    assert a.grad.dtype == dtype
    (g_a, _) = NUMPY.vjp(exact, np.ones(x.shape), np.zeros((2, 1, 3)))
    np.testing.assert_allclose(
        a.grad.double().numpy(), g_a, rtol=4 * torch.finfo(dtype).eps, atol=1e-2 * torch.finfo(dtype).eps
    )


def test_torch_promotes_mixed_dtypes() -> None:
    x, _ = TORCH(torch.tensor(A, dtype=torch.float32), torch.tensor(B, dtype=torch.float64))
    assert x.dtype == torch.float64


@pytest.mark.parametrize("x64", [False, True])
def test_jax_is_exact_with_and_without_x64(x64: bool) -> None:
    with jax.enable_x64(x64):
        a, b = jnp.asarray(A_BATCH), jnp.asarray(B)
        x, _ = JAX(a, b)
        assert x.dtype == (jnp.float64 if x64 else jnp.float32)
        exact = NUMPY.solve(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
        np.testing.assert_array_equal(np.asarray(x), exact.outputs[0].astype(x.dtype))
        gradient = jax.grad(lambda a: JAX(a, b)[0].sum())(a)
        g_a, _ = NUMPY.vjp(exact, np.ones(x.shape), np.zeros(x.shape))
        np.testing.assert_allclose(np.asarray(gradient), g_a, rtol=4 * jnp.finfo(x.dtype).eps, atol=1e-7)


def test_outputs_require_gradients_only_if_an_input_does() -> None:
    a, b = torch.tensor(A), torch.tensor(B)
    assert not any(output.requires_grad for output in TORCH(a, b))
    assert all(output.requires_grad for output in TORCH(a.requires_grad_(), b))
    with torch.no_grad():
        assert not any(output.requires_grad for output in TORCH(a, b))


def test_no_work_for_the_backward_is_done_ahead_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("differentiated")

    monkeypatch.setattr("optlayers.backward.sparse_direct.multiply_by", refuse)
    a, b = torch.tensor(A, requires_grad=True), torch.tensor(B)
    with torch.no_grad():
        TORCH(a, b)
    x, _ = TORCH(a, b)
    with pytest.raises(AssertionError, match="differentiated"):
        x.sum().backward()


def test_outputs_in_inference_mode() -> None:
    a, b = torch.tensor(A), torch.tensor(B)
    with torch.inference_mode():
        assert TORCH(a, b)[0].is_inference()


def test_torch_function_transforms_and_forward_mode() -> None:
    a, b = torch.tensor(A), torch.tensor(B[0, 0])
    reverse = torch.func.jacrev(lambda a: TORCH(a, b)[0])(a)
    forward = torch.func.jacfwd(lambda a: TORCH(a, b)[0])(a)
    torch.testing.assert_close(reverse, forward, rtol=1e-10, atol=1e-12)
    batched = torch.func.vmap(torch.func.jacrev(lambda a: TORCH(a, b)[0]))(torch.tensor(A_BATCH))
    torch.testing.assert_close(batched[1], torch.func.jacrev(lambda a: TORCH(a, b)[0])(torch.tensor(A_BATCH[1])))
    torch.autograd.gradcheck(TORCH, (a.requires_grad_(), b.requires_grad_()), check_forward_ad=True)


def test_jax_transforms() -> None:
    a, b = jnp.asarray(A_BATCH), jnp.asarray(B[0, 0])

    def first(a: jax.Array) -> jax.Array:
        return JAX(a, b)[0]

    np.testing.assert_array_equal(jax.jit(first)(a), first(a))
    reverse, forward = jax.jacrev(first)(a[0]), jax.jit(jax.jacfwd(first))(a[0])
    np.testing.assert_allclose(reverse, forward, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(jax.vmap(first)(a), first(a))
    gradients = jax.jit(jax.vmap(jax.grad(lambda a: first(a).sum())))(a)
    np.testing.assert_allclose(gradients[1], jax.grad(lambda a: first(a).sum())(a[1]), rtol=1e-12)
    nested = jax.vmap(jax.vmap(lambda a, b: JAX(a, b)[0], in_axes=(0, None)), in_axes=(None, 0))(
        a, jnp.asarray(B[:, 0])
    )
    np.testing.assert_array_equal(nested, JAX(a, B)[0])


def test_third_derivatives_are_refused_not_zero() -> None:
    a, b = torch.tensor(A, requires_grad=True), torch.tensor(B[0, 0])
    (first,) = torch.autograd.grad(TORCH(a, b)[0].sum(), a, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), a, create_graph=True)
    with pytest.raises(DerivativeError, match="third derivatives"):
        second.sum().backward()
    with pytest.raises(DerivativeError, match="third derivatives"):
        torch.func.jacfwd(torch.func.hessian(lambda a: TORCH(a, b)[0].sum()))(a.detach())
    with pytest.raises(DerivativeError, match="third derivatives"):
        jax.grad(lambda a: jax.hessian(lambda a: JAX(a, B[0, 0])[0].sum())(a).sum())(jnp.asarray(A))


def test_a_module_has_no_state_and_copies() -> None:
    assert TORCH.state_dict() == {}
    assert list(TORCH.parameters()) == []
    a, b = torch.tensor(A), torch.tensor(B)
    for copied in (copy.deepcopy(TORCH), pickle.loads(pickle.dumps(TORCH))):
        assert torch.equal(copied(a, b)[0], TORCH(a, b)[0])


def test_errors_under_jit_carry_the_message() -> None:
    x, c = cp.Variable(2), cp.Parameter(2)
    layer = optlayers.jax.CvxpyLayer(cp.Problem(cp.Minimize(c @ x), [x >= 0]), [c], [x])
    with pytest.raises(SolveError, match="unbounded"):
        layer(-jnp.ones(2))
    with pytest.raises(Exception, match=r"batch index \(1,\): unbounded"):
        jax.block_until_ready(jax.jit(layer)(jnp.array([[1.0, 1.0], [-1.0, 1.0]])))


def test_options_of_one_call() -> None:
    a, b = torch.tensor(A), torch.tensor(B)
    torch.testing.assert_close(TORCH(a, b, solver_args={"solve_method": "OSQP", "eps": 1e-3})[0], TORCH(a, b)[0])
    assert TORCH.solver.name == "CLARABEL"
    np.testing.assert_allclose(JAX(A, B, solver_args={"max_iters": 50})[0], JAX(A, B)[0])
