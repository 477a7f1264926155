"""What PyTorch users build around a layer: autograd's older interfaces, precision, modules, processes, threads."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
import torch.autograd.forward_ad
from cases import NAMES, case_of
from every_cone_torch import EveryCone
from framework_torch import TORCH as FRAMEWORK
from oracles import require_close

import optlayers
from optlayers.errors import ArgumentError, DerivativeError, OptionError
from optlayers.torch import CvxpyLayer


def robust() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """Regularised least squares on a half-ball: smooth, curved, with an active second-order cone."""
    x, A, b = cp.Variable(3), cp.Parameter((4, 3), name="A"), cp.Parameter(4, name="b")
    objective = cp.sum_squares(A @ x - b) + 0.3 * cp.norm(x)
    return cp.Problem(cp.Minimize(objective), [cp.norm(x) <= 0.4, x[0] >= -5]), [A, b], [x]


PROBLEM = robust()
LAYER = CvxpyLayer(*PROBLEM)
PLAIN = optlayers.compile(*PROBLEM)
RNG = np.random.default_rng(0)
A, B = torch.tensor(RNG.standard_normal((4, 3))), torch.tensor(RNG.standard_normal(4))
Z = torch.cat([A.ravel(), B])
DIRECTION = torch.tensor(RNG.standard_normal(16))


def outputs(z: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = LAYER(z[:12].reshape(4, 3), z[12:])[0]
    return result


def loss(z: torch.Tensor) -> torch.Tensor:
    return outputs(z).sin().sum()


JACOBIAN = torch.func.jacrev(outputs)(Z)
HESSIAN = torch.func.hessian(loss)(Z)


def close(ours: torch.Tensor, plain: torch.Tensor) -> None:
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10 * float(plain.abs().max()))


functional = torch.autograd.functional


@pytest.mark.parametrize(
    ("compute", "plain"),
    [
        (lambda: functional.jacobian(outputs, Z), JACOBIAN),
        (lambda: functional.jacobian(outputs, Z, vectorize=True), JACOBIAN),
        (lambda: functional.jacobian(outputs, Z, vectorize=True, strategy="forward-mode"), JACOBIAN),
        (lambda: functional.jvp(outputs, Z, DIRECTION)[1], JACOBIAN @ DIRECTION),
        (lambda: functional.vjp(outputs, Z, DIRECTION[:3])[1], DIRECTION[:3] @ JACOBIAN),
        (lambda: functional.hessian(loss, Z), HESSIAN),
        (lambda: functional.hessian(loss, Z, vectorize=True), HESSIAN),
        (lambda: functional.hessian(loss, Z, vectorize=True, outer_jacobian_strategy="forward-mode"), HESSIAN),
        (lambda: functional.hvp(loss, Z, DIRECTION)[1], HESSIAN @ DIRECTION),
        (lambda: functional.vhp(loss, Z, DIRECTION)[1], HESSIAN @ DIRECTION),
    ],
)
def test_the_functional_interface(compute: Callable[[], torch.Tensor], plain: torch.Tensor) -> None:
    close(compute(), plain)


def test_the_checks_of_gradients() -> None:
    """Reverse and forward mode, batched and not, and what is differentiated twice, against PyTorch's differences."""
    b = B.clone().requires_grad_()

    def of_b(b: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = LAYER(A, b)[0]
        return result

    assert torch.autograd.gradcheck(
        of_b, (b,), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(
        of_b, (b,), check_fwd_over_rev=True, check_rev_over_rev=True, check_batched_grad=True
    )


def test_batched_cotangents_and_forward_mode() -> None:
    z = Z.clone().requires_grad_()
    (rows,) = torch.autograd.grad(outputs(z), z, torch.eye(3, dtype=torch.float64), is_grads_batched=True)
    close(rows, JACOBIAN)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(Z, DIRECTION)
        close(torch.autograd.forward_ad.unpack_dual(outputs(dual)).tangent, JACOBIAN @ DIRECTION)


def test_a_penalty_on_the_gradient_trains() -> None:
    z = Z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(z), z, create_graph=True)
    gradient.square().sum().backward()
    close(z.grad, 2 * HESSIAN @ gradient.detach())


class Model(torch.nn.Module):
    """A network that predicts b."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(5, 4).double()
        self.layer = LAYER

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(A=A, b=self.linear(features))[0]
        return result


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",
        pytest.param("inductor", marks=pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")),
    ],
)
def test_a_compiled_model_of_any_batch(backend: str) -> None:
    model = Model()
    compiled = FRAMEWORK.jit(model, backend)
    for shape in ((6, 5), (3, 5), (1, 5), (2, 3, 5)):
        features = torch.tensor(RNG.standard_normal(shape))
        model.zero_grad()
        ours = compiled(features)
        ours.sin().sum().backward()
        gradient = model.linear.weight.grad.clone()
        model.zero_grad()
        model(features).sin().sum().backward()
        close(ours.detach(), model(features).detach())
        close(gradient, model.linear.weight.grad)


@pytest.mark.usefixtures("without_checks")
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")
def test_layers_of_every_cone_compiled_by_inductor() -> None:
    """In one program of nothing else; the contract has the other compilers."""
    cases = [case_of(FRAMEWORK, cone) for cone in NAMES]
    values = [[torch.tensor(value, requires_grad=True) for value in case.restriction.values(case.z)] for case in cases]

    def outputs(values: list[list[torch.Tensor]]) -> list[torch.Tensor]:
        return [output for case, each in zip(cases, values, strict=True) for output in case.layer(*each)]

    found, plain = FRAMEWORK.jit(outputs, "inductor")(values), outputs(values)
    for ours, one in zip(found, plain, strict=True):
        close(ours.detach(), one.detach())
    leaves = [leaf for each in values for leaf in each]
    ours, expected = (torch.autograd.grad(sum(each.sin().sum() for each in every), leaves) for every in (found, plain))
    for gradient, one in zip(ours, expected, strict=True):
        close(gradient, one)


def test_a_compiled_call_refuses_options_of_its_own() -> None:
    def call(b: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = LAYER(A, b, solver_args={"eps": 1e-6})[0]
        return result

    with pytest.raises(Exception, match="solver_args of one call cannot be compiled"):
        FRAMEWORK.jit(call)(B)
    with pytest.raises(OptionError):
        LAYER(A, B, solver_args={"no_such_option": 1})


def test_forward_mode_in_a_compiled_function_is_refused_not_zero() -> None:
    def product(b: torch.Tensor) -> torch.Tensor:
        return torch.func.jvp(lambda b: LAYER(A, b)[0], (b,), (b,))[1]

    with pytest.raises(Exception, match="forward mode"):
        FRAMEWORK.jit(product)(B)
    compiled = FRAMEWORK.jit(lambda b: LAYER(A, b)[0])
    compiled(B)
    with torch.autograd.forward_ad.dual_level(), pytest.raises(DerivativeError, match="forward mode"):
        compiled(torch.autograd.forward_ad.make_dual(B, B))


def test_third_derivatives_of_a_compiled_function_are_refused_not_wrong() -> None:
    def run(b: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = LAYER(A, b)[0].sin().sum()
        return result

    b = B.clone().requires_grad_()
    (first,) = torch.autograd.grad(FRAMEWORK.jit(run, "eager")(b), b, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), b, create_graph=True)
    close(second.detach(), 2 * torch.func.hessian(run)(B) @ first.detach())
    with pytest.raises(DerivativeError, match="third derivatives"):
        torch.autograd.grad(second.sum(), b)


def test_an_exported_program_finds_no_other_layer(tmp_path: Path) -> None:
    def program(bound: float) -> torch.export.ExportedProgram:
        x, b = cp.Variable(2), cp.Parameter(2)
        layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - b)), [x <= bound]), [b], [x])
        with FRAMEWORK.unchecked():
            exported = torch.export.export(layer, (torch.ones(2),))
        (here,) = exported.module()(torch.ones(2))
        close(here, layer(torch.ones(2))[0])
        torch.export.save(exported, tmp_path / "program.pt2")
        return exported

    program(0.5)  # its layer is gone with it
    other = CvxpyLayer(*PROBLEM)
    with pytest.raises(ArgumentError, match="not in this process"):
        torch.export.load(tmp_path / "program.pt2").module()(torch.ones(2))
    assert other.solver.name == "CLARABEL"


def test_single_precision_reaches_the_bounds_of_a_geometric_program() -> None:
    x, a = cp.Variable(pos=True), cp.Parameter(pos=True, bounds=[1, 1e12])
    layer = CvxpyLayer(cp.Problem(cp.Minimize(x), [x >= a]), [a], [x], gp=True)
    (value,) = layer(torch.tensor(1e12, dtype=torch.float32))
    assert value == torch.tensor(1e12, dtype=torch.float32)


def test_warnings_point_at_the_user_s_lines() -> None:
    x, b = cp.Variable(2), cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - b)), [x >= 0]), [b], [x])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            b_value = torch.zeros(2, dtype=torch.float64, requires_grad=True)
            (value,) = layer(b_value)
            value.sum().backward()
        torch.func.jacrev(lambda b: layer(b)[0])(b_value.detach())
    assert {warning.filename for warning in caught} == {__file__}
    assert len({warning.lineno for warning in caught}) == 2


def test_autocast_keeps_solutions_in_single_precision() -> None:
    exact = PLAIN.solve(A.bfloat16().double().numpy(), B.bfloat16().double().numpy()).outputs[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (x,) = LAYER(A.bfloat16().requires_grad_(), B.bfloat16())
    assert x.dtype == torch.float32
    np.testing.assert_allclose(x.detach().numpy(), exact, rtol=1e-6)
    model = Model().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.layer(A.float(), model.linear(torch.ones(2, 5)))[0].sum().backward()
    assert model.linear.weight.grad.dtype == torch.float32


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("cone", NAMES)
def test_precisions_on_every_cone(cone: str) -> None:
    """float32, and bfloat16 within autocast: solved in double precision at the given numbers, and then rounded."""
    case = case_of(FRAMEWORK, cone)
    compiled, values = case.restriction.compiled, case.restriction.values(case.z)
    for dtype, cast in ((torch.float32, False), (torch.bfloat16, True)):
        arguments = [torch.tensor(value).to(dtype).requires_grad_() for value in values]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast):
            found = case.layer(*arguments)
        solution = compiled.solve(*(argument.detach().double().numpy() for argument in arguments))
        for output, exact in zip(found, solution.outputs, strict=True):
            assert output.dtype == torch.float32
            assert torch.equal(output, torch.tensor(exact).float())
        sum(output.sum() for output in found).backward()
        gradients = compiled.vjp(solution, *(np.ones_like(output) for output in solution.outputs))
        for argument, gradient in zip(arguments, gradients, strict=True):
            assert argument.grad.dtype == dtype
            require_close(argument.grad.double().numpy(), gradient, 2 * torch.finfo(dtype).eps)


@pytest.mark.usefixtures("without_checks")
@pytest.mark.parametrize("cone", NAMES)
def test_strided_and_expanded_inputs_on_every_cone(cone: str) -> None:
    """Each parameter's entries two apart in memory, expanded to a batch of two; the gradient is that of two copies."""
    case = case_of(FRAMEWORK, cone)
    values = [torch.tensor(value) for value in case.restriction.values(case.z)]
    strided = [torch.stack([value, value + 1], -1)[..., 0].requires_grad_() for value in values]
    assert all(value.ndim == 0 or value.numel() == 1 or not value.is_contiguous() for value in strided)
    found = case.layer(*(value.expand(2, *value.shape) for value in strided))
    dense = [value.clone().requires_grad_() for value in values]
    plain = case.layer(*dense)
    for ours, one in zip(found, plain, strict=True):
        assert torch.equal(ours, one.expand_as(ours))
    ours = torch.autograd.grad(sum(output.sin().sum() for output in found), strided)
    once = torch.autograd.grad(sum(output.sin().sum() for output in plain), dense)
    for gradient, one in zip(ours, once, strict=True):
        close(gradient, 2 * one)


def test_strided_and_expanded_inputs() -> None:
    wide = torch.tensor(RNG.standard_normal((3, 8)))
    strided = wide.T[::2].requires_grad_()
    assert not strided.is_contiguous()
    (x,) = LAYER(strided, B.expand(2, 4))
    (plain,) = LAYER(strided.detach().clone(), B)
    assert torch.equal(x, plain.expand(2, 3))
    (gradient,) = torch.autograd.grad(x.sin().sum(), strided)
    dense = strided.detach().clone().requires_grad_()
    (once,) = torch.autograd.grad(LAYER(dense, B)[0].sin().sum(), dense)
    close(gradient, 2 * once)


@pytest.mark.usefixtures("without_checks")
def test_modules_are_copied_pickled_and_have_no_state() -> None:
    features = torch.ones(2, 5, dtype=torch.float64)
    for model in (Model(), EveryCone()):
        assert set(model.state_dict()) == {"linear.weight", "linear.bias"}
        copied, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
        copied.load_state_dict(model.state_dict())
        for other in (copied, pickled):
            assert torch.equal(other(features), model(features))
        with torch.inference_mode():
            assert torch.equal(model(features), copied(features))
            assert model(features).is_inference()
        model.to(torch.float32)
        assert model.linear.weight.dtype == torch.float32
    assert LAYER(A.float(), B.float())[0].dtype == torch.float32


LOADERS = """
import torch
from torch.utils.data import DataLoader, Dataset
from every_cone_torch import EveryCone


class Outputs(Dataset):
    def __init__(self):
        self.model, self.features = EveryCone(), torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(4, 5)

    def __len__(self):
        return len(self.features)

    def __getitem__(self, index):
        return self.model(self.features[index]).detach()


if __name__ == "__main__":
    outputs = Outputs()
    plain = torch.stack(list(outputs))
    for start in ("fork", "spawn"):
        loader = DataLoader(outputs, batch_size=2, num_workers=2, multiprocessing_context=start)
        assert torch.equal(torch.cat(list(loader)), plain), start
    print("loaded")
"""


def test_workers_of_a_data_loader(tmp_path: Path) -> None:
    """In a process in which JAX has not started, whose threads forbid a fork."""
    script = tmp_path / "loaders.py"
    script.write_text(LOADERS)
    run = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parent}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.stdout.strip() == "loaded", run.stderr[-3000:]


@pytest.mark.usefixtures("without_checks")
def test_threads_share_layers_at_different_batch_shapes() -> None:
    model = EveryCone()
    shapes = [(), (1,), (3,), (2, 2), (5,), (0,)] * 2
    batches = [torch.tensor(RNG.standard_normal((*shape, 5))) for shape in shapes]

    def work(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = features.clone().requires_grad_()
        outputs = model(leaf)
        (gradient,) = torch.autograd.grad(outputs.square().sum(), leaf)
        return outputs.detach(), gradient

    plain = [work(b) for b in batches]
    results: list[Any] = [None] * len(batches)

    def run(place: int) -> None:
        results[place] = work(batches[place])

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, alone in zip(results, plain, strict=True):
        assert torch.equal(ours[0], alone[0])
        assert torch.equal(ours[1], alone[1])


def test_equal_layers_outlive_each_other() -> None:
    """A compiled function finds its own layer, also where an equal one was there before and is gone."""
    one = CvxpyLayer(*PROBLEM)
    other = copy.copy(one)
    other._solution_map = copy.copy(one._solution_map)
    other.__setstate__(dict(vars(other)))
    assert other._solution_map == one._solution_map
    call = FRAMEWORK.jit(lambda b: other(A, b)[0])
    close(call(B), LAYER(A, B)[0])
    del one
    close(call(2 * B), LAYER(A, 2 * B)[0])


def test_a_layer_says_what_it_is() -> None:
    text = "A (4, 3), b (4,) -> "
    assert repr(LAYER).startswith(f"CvxpyLayer({text}")
    assert "solver=CLARABEL, backward=sparse direct" in repr(LAYER)
    assert text in repr(PLAIN)


def test_shapes_of_tensors_without_numbers() -> None:
    (x,) = LAYER(torch.ones(2, 4, 3, device="meta"), torch.ones(4, device="meta"))
    assert x.shape == (2, 3)
    assert x.device.type == "meta"
