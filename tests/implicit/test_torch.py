"""Implicit layers within PyTorch: every nesting of its transformations, its compiler, modules, precision, arguments."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from oracles import unchecked

from optlayers.errors import ArgumentError, CaptureError, DerivativeError, OptionError
from optlayers.implicit import LU, FixedPointIteration, Newton
from optlayers.torch import FixedPointLayer, ImplicitLayer, argmin, fixed_point, root
from optlayers.torch.framework import TORCH

EXACT = Newton(tolerance=1e-13)
LIMIT = 1e-9


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(ours: torch.Tensor, plain: torch.Tensor, limit: float = LIMIT) -> None:
    torch.testing.assert_close(ours, plain, rtol=limit, atol=limit * float(plain.detach().abs().max() + 1))


def matrix(seed: int = 1) -> torch.Tensor:
    return normal(3, 3, seed=seed) + 4 * torch.eye(3, dtype=torch.float64)


# Closed forms. Cardano's formula: the real root of z^3 + p z = q, for p > 0.


def linear(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = root(lambda z, theta: theta[0] @ z - theta[1], torch.zeros_like(b), (A, b), solver=EXACT)
    return result


def linear_exact(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # Not torch.linalg.solve: its own forward mode is wrong inside vmap and inside forward mode.
    return torch.linalg.inv(A) @ b


def cubic(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = root(
        lambda z, theta: z**3 + theta["p"] * z - theta["q"], torch.ones_like(q), {"p": p, "q": q}, solver=EXACT
    )
    return result


def cubic_exact(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    w = torch.sqrt(q**2 / 4 + p**3 / 27)
    c = (w + q / 2) ** (1 / 3)
    return c - p / (3 * c)


CASES: list[tuple[Callable[..., Any], Callable[..., Any], tuple[torch.Tensor, ...]]] = [
    (linear, linear_exact, (matrix(), normal(3))),
    (cubic, cubic_exact, (torch.tensor(0.8, dtype=torch.float64), torch.tensor(1.7, dtype=torch.float64))),
]
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


# What users' functions capture.

W = normal(3, 3, seed=4) / 10
B = normal(3)
OUTSIDE = W.clone().requires_grad_()


def of_global(z: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.tanh(OUTSIDE @ z) + b


class Holder:
    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight

    def apply(self, z: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.weight @ z) + b


def solved(g: Callable[[Any, Any], Any]) -> torch.Tensor:
    result: torch.Tensor = fixed_point(g, torch.zeros(3, dtype=torch.float64), B)
    return result


def through(weight: torch.Tensor) -> torch.Tensor:
    return solved(lambda z, b: torch.tanh(weight @ z) + b)


def dual_numbers(f: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with forward_ad.dual_level():
        f(forward_ad.make_dual(W, W))


TRANSFORMED: dict[str, Callable[[Callable[[torch.Tensor], torch.Tensor]], Any]] = {
    "autograd": lambda f: f(W.clone().requires_grad_()),
    "grad": lambda f: torch.func.grad(lambda W: f(W).sum())(W),
    "grad of grad": lambda f: torch.func.grad(lambda s: torch.func.grad(lambda W: f(s * W).sum())(W).sum())(
        torch.tensor(1.0, dtype=torch.float64)
    ),
    "vmap of grad": lambda f: torch.vmap(torch.func.grad(lambda W: f(W).sum()))(torch.stack([W, W])),
    "jvp": lambda f: torch.func.jvp(f, (W,), (W,)),
    "jacfwd": lambda f: torch.func.jacfwd(f)(W),
    "dual numbers": dual_numbers,
    "vmap": lambda f: torch.vmap(f)(torch.stack([W, W])),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_captures_are_refused_by_name_in_every_transformation(name: str) -> None:
    with pytest.raises(CaptureError, match="fixed_point uses a value from outside, 'weight', that"):
        TRANSFORMED[name](through)
    close(through(W), fixed_point(lambda z, t: torch.tanh(t @ z) + B, torch.zeros(3, dtype=torch.float64), W))


def test_captures_at_the_solution_alone_are_refused() -> None:
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    with pytest.raises(CaptureError, match="'scale'"):
        root(
            lambda z, t: z - t * scale if bool(z > 1) else z - 2 * t,
            torch.tensor(0.0, dtype=torch.float64),
            torch.tensor(3.0, dtype=torch.float64),
        )


def test_captures_are_named_where_they_stand() -> None:
    module = torch.nn.Linear(3, 3, dtype=torch.float64)
    holder, weights = Holder(OUTSIDE), {"first": OUTSIDE}
    with pytest.raises(CaptureError, match="'OUTSIDE'"):
        solved(of_global)
    with pytest.raises(CaptureError, match=r"'module\.weight', 'module\.bias'"):
        solved(lambda z, b: module(z) / 9 + b)
    with pytest.raises(CaptureError, match=r"'holder\.weight'"):
        solved(lambda z, b: holder.apply(z, b))
    with pytest.raises(CaptureError, match=r"'self\.weight'"):
        solved(holder.apply)
    with pytest.raises(CaptureError, match=r"'weights\['first'\]'"):
        solved(lambda z, b: torch.tanh(weights["first"] @ z) + b)
    scale = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    layer = FixedPointLayer(Scaled(lambda z: scale * z))
    with pytest.raises(CaptureError, match=r"from outside, .*'scale'"):
        layer(normal(2, 3))


def test_captures_are_no_matter_where_gradients_are_off() -> None:
    module = torch.nn.Linear(3, 3, dtype=torch.float64)
    with torch.no_grad():
        z = fixed_point(lambda z, b: torch.tanh(module(z)) / 9 + b, torch.zeros(3, dtype=torch.float64), B)
        close(torch.tanh(module(z)) / 9 + B, z)
        radius = fixed_point.spectral_radius(lambda z, b: torch.tanh(module(z)) / 9 + b, z, B)
        slopes = (1 - torch.tanh(module(z)) ** 2)[:, None] * module.weight / 9
    assert float(radius) == pytest.approx(float(torch.linalg.eigvals(slopes).abs().max()), rel=0.05)


class Scaled(torch.nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.function(z) + x


# Modules.


class Cell(torch.nn.Module):
    """A contraction with two parameters and a buffer; an input that is a dict, or none."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3, dtype=torch.float64)
        self.register_buffer("shift", torch.full((3,), 0.3, dtype=torch.float64))
        with torch.no_grad():
            self.linear.weight.copy_(normal(3, 3) / 5)
            self.linear.bias.copy_(normal(3, seed=2))

    def forward(self, z: torch.Tensor, x: torch.Tensor, options: Any = None) -> torch.Tensor:
        value = torch.tanh(self.linear(z) + x + self.shift)
        return value if options is None else value * options["scale"]


class Model(torch.nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.features = torch.nn.Linear(2, 3, dtype=torch.float64)
        self.layer = FixedPointLayer(Cell(), **settings)
        with torch.no_grad():
            self.features.weight.copy_(normal(3, 2, seed=3))
            self.features.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(self.features(x)).sin()
        return result


def gradients(f: Callable[..., torch.Tensor], model: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The value, and the gradients by the input and all parameters."""
    leaf = x.detach().clone().requires_grad_()
    value = f(leaf)
    return [value.detach(), *torch.autograd.grad((value * normal(*value.shape)).sum(), [leaf, *model.parameters()])]


def iterated(model: Model, x: torch.Tensor) -> torch.Tensor:
    """What the model converges to, by iterations that autograd records."""
    inputs = model.features(x)
    z = torch.zeros_like(inputs)
    for _ in range(80):
        z = model.layer.cell(z, inputs)
    return z.sin()


def test_the_layer_is_what_its_iterations_converge_to() -> None:
    model = Model()
    x = normal(4, 2)
    for one, other in zip(gradients(model, model, x), gradients(lambda x: iterated(model, x), model, x), strict=True):
        close(one, other)


def test_a_module_is_saved_copied_pickled_and_moved() -> None:
    model, x = Model(solver=FixedPointIteration()), normal(4, 2)
    names = ["features.weight", "features.bias", "layer.cell.linear.weight", "layer.cell.linear.bias"]
    assert [name for name, _ in model.named_parameters()] == names
    assert set(model.state_dict()) == {*names, "layer.cell.shift"}
    copied, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    assert len({each.layer._handle for each in (model, copied, pickled, copy.deepcopy(copied))}) == 4
    with torch.no_grad():
        copied.layer.cell.linear.weight.zero_()
    assert not torch.equal(copied(x), model(x))
    assert torch.equal(pickled(x), model(x))
    copied.load_state_dict(model.state_dict())
    assert torch.equal(copied(x), model(x))
    sequence = torch.nn.Sequential(model.features, model.layer)
    assert torch.equal(sequence(x).sin(), model(x))
    assert not model.eval().layer.cell.training
    single = FixedPointLayer(Cell(), solver=FixedPointIteration(tolerance=1e-5)).to(torch.float32)
    assert single(normal(2, 3).float()).dtype == torch.float32


def test_a_layer_says_what_it_is() -> None:
    layer = FixedPointLayer(Cell(), solver=FixedPointIteration(damping=0.5), on_failure="warn")
    assert "fixed_point, batch_axes=1, solver=FixedPointIteration(" in repr(layer)
    assert "damping=0.5" in repr(layer)
    assert "on_failure=warn" in repr(layer)
    assert "argmin, batch_axes=0" in repr(ImplicitLayer(argmin, Cell(), batch_axes=0))


class Normalized(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        with torch.no_grad():
            self.linear.weight.copy_(normal(3, 3) / 5)

    def forward(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.norm(self.linear(z)) + x)


def test_a_cell_that_writes_to_its_buffers_is_refused_and_they_are_left_alone() -> None:
    layer = FixedPointLayer(Normalized().double())
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context(), pytest.raises(ArgumentError, match=r"changes its buffer 'norm\.\w+'.*cell\.eval"):
            layer(normal(4, 3))
    with unchecked(), pytest.raises(ArgumentError, match="changes its buffer"):
        compiled(layer)(normal(4, 3))
    assert layer.cell.norm.num_batches_tracked == 0
    assert not layer.cell.norm.running_mean.any()
    assert layer.eval()(normal(4, 3)).shape == (4, 3)


def test_a_buffer_may_be_changed_between_forward_and_backward() -> None:
    model = Model()
    value = model(normal(4, 2))
    model.layer.cell.shift.add_(1)
    value.sum().backward()
    plain = Model()
    plain(normal(4, 2)).sum().backward()
    close(model.features.weight.grad, plain.features.weight.grad)


def test_distributed_data_parallel(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model, plain, x = Model(), Model(), normal(4, 2)
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        for _ in range(2):  # the second pass fails where a parameter was not used in the first
            parallel(x).sum().backward()
            plain(x).sum().backward()
        for one, other in zip(model.parameters(), plain.parameters(), strict=True):
            close(one.grad, other.grad)
    finally:
        torch.distributed.destroy_process_group()


# torch.compile.


def compiled(f: Callable[..., Any], backend: str = "eager", *, whole: bool = True) -> Callable[..., Any]:
    torch.compiler.reset()
    return torch.compile(f, fullgraph=whole, backend=backend)


@pytest.mark.parametrize(
    ("backend", "differentiate"),
    [("eager", "implicit"), ("aot_eager", "implicit"), ("aot_eager", "unrolled"), ("aot_eager", "one_step")],
)
def test_a_compiled_model_is_the_plain_one(backend: str, differentiate: str) -> None:
    model = Model(solver=FixedPointIteration(), differentiate=differentiate)
    with unchecked():
        f = compiled(model, backend)
        for batch in (4, 5):
            x = normal(batch, 2)
            for one, other in zip(gradients(f, model, x), gradients(model, model, x), strict=True):
                close(one, other, 1e-10)
        with torch.no_grad():
            close(f(normal(4, 2)), model(normal(4, 2)), 1e-10)
        with torch.inference_mode():
            close(f(normal(4, 2)), model(normal(4, 2)), 1e-10)


def test_compiled_trees_settings_and_info() -> None:
    layer = FixedPointLayer(Cell(), return_info=True, batch_axes=1)
    options = {"scale": torch.tensor(0.7, dtype=torch.float64, requires_grad=True), "none": None, "name": "a", "n": 2}
    x, z0 = normal(4, 3), normal(4, 3, seed=5)
    with unchecked():
        (z, info), (plain, plain_info) = compiled(layer, "aot_eager")(x, options, z0=z0), layer(x, options, z0=z0)
        close(z, plain, 1e-10)
        for one, other in zip(info, plain_info, strict=True):
            close(one.double(), other.double())
        pair = [torch.autograd.grad(value.sum(), options["scale"])[0] for value in (z, plain)]
        close(*pair, 1e-10)


def test_compiled_roots_and_minima() -> None:
    x = normal(4, 2).requires_grad_()
    cube = ImplicitLayer(root, lambda z, x: {"u": z["u"] ** 3 + z["u"] - x})
    valley = ImplicitLayer(argmin, lambda z, x: ((z - x) ** 4 + z**2).sum(-1))
    with unchecked():
        for f in (lambda x: cube(x, z0={"u": x})["u"], lambda x: valley(x)):
            pair = [torch.autograd.grad(call(x).sin().sum(), x)[0] for call in (compiled(f, "aot_eager"), f)]
            close(*pair, 1e-10)


def test_plain_functions_break_the_graph_and_say_so() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = root(lambda z, x: z**3 + z - x, torch.ones_like(x), x.exp()).sin()
        return result

    x = normal(3).requires_grad_()
    with unchecked():
        pair = [torch.autograd.grad(call(x).sum(), x)[0] for call in (compiled(f, "aot_eager", whole=False), f)]
        close(*pair, 1e-12)
        # The compiler's own error, of what `root` calls first; `root` itself is wrapped here by the checks of types.
        with pytest.raises(Exception, match=r"\(fullgraph=True\), call an optlayers\.torch\.ImplicitLayer"):
            compiled(lambda x: TORCH.enter(lambda z0, theta: z0, x, ()))(x)


def test_what_does_not_reach_into_a_compiled_function_is_refused() -> None:
    model, x = Model(), normal(4, 2)
    f = compiled(model)
    with unchecked():
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(f(leaf).sum(), leaf, create_graph=True)
        with pytest.raises(DerivativeError, match="second derivatives of an implicit layer"):
            torch.autograd.grad(first.sum(), leaf)
        with forward_ad.dual_level(), pytest.raises(Exception, match="forward mode"):
            f(forward_ad.make_dual(x, x))
        f(x)
        with forward_ad.dual_level(), pytest.raises(Exception, match="forward mode"):
            f(forward_ad.make_dual(x, x))
        with pytest.raises(Exception, match="forward mode"):
            compiled(lambda x: torch.func.jvp(model, (x,), (x,))[1])(x)
        with pytest.raises(Exception, match="vmap of an implicit layer"):
            compiled(lambda x: torch.vmap(model)(x))(torch.stack([x, x]))
        with pytest.raises(CaptureError, match="'OUTSIDE'"):
            compiled(FixedPointLayer(lambda z, x: torch.tanh(z @ OUTSIDE) + x), "aot_eager")(normal(2, 3))
        with pytest.raises(ArgumentError, match=r"promote, torch\.float64"):
            compiled(ImplicitLayer(root, lambda z, x: (z - x).float()))(torch.ones(2, 3, dtype=torch.float64))


# Precision, arguments, threads.


def test_autocast_and_narrow_numbers() -> None:
    exact = FixedPointLayer(Cell())
    single = FixedPointLayer(Cell().float(), solver=FixedPointIteration(tolerance=1e-6), backward=LU(tolerance=1e-5))
    x = normal(4, 3).bfloat16()
    expected = torch.autograd.grad(exact(x.double()).sum(), list(exact.parameters()))
    with unchecked():
        for call in (single, compiled(single, "aot_eager")):
            single.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                z = call(x.requires_grad_())
                z.sum().backward()
            assert z.dtype == torch.float32
            close(z.double(), exact(x.double()), 1e-5)
            for parameter, gradient in zip(single.parameters(), expected, strict=True):
                close(parameter.grad.double(), gradient, 1e-5)
            assert x.grad.dtype == torch.bfloat16
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(ArgumentError, match=rf"{dtype}.*\.float\(\)"):
            root(lambda z, x: z - x, torch.zeros(2, dtype=dtype), torch.ones(2, dtype=dtype))


def test_strided_and_expanded_arguments() -> None:
    wide = normal(6, 8)
    b = wide.T[1:4, 2].requires_grad_()
    A = matrix().T
    assert not A.is_contiguous()
    close(linear(A, b), torch.linalg.solve(A, b))
    shared = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    z = root(lambda z, t: z**3 + z - t, torch.zeros(1, dtype=torch.float64).expand(4), shared.expand(4))
    (gradient,) = torch.autograd.grad(z.sum(), shared)
    close(gradient, (4 / (3 * z**2 + 1)).mean())


def test_modes_without_gradients() -> None:
    A, b = matrix(), normal(3).requires_grad_()
    with torch.no_grad():
        assert not linear(A, b).requires_grad
    with torch.inference_mode():
        close(linear(2 * A, 2 * b).clone(), torch.linalg.solve(A, b))


def test_leaves_of_theta_that_are_no_tensors_or_need_no_gradient() -> None:
    theta = {
        "a": torch.tensor(2.0, dtype=torch.float64, requires_grad=True),
        "fixed": torch.tensor(3.0, dtype=torch.float64),
        "index": torch.tensor(1),
        "number": 0.5,
        "n": 2,
        "flag": True,
        "none": None,
        "name": "a",
    }

    def F(z: torch.Tensor, t: Any) -> torch.Tensor:
        assert (t["flag"], t["none"], t["name"]) == (True, None, "a")
        return t["number"] * z - t["n"] * t["a"] - t["fixed"] * t["index"]

    def f(a: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = root(F, torch.zeros(2, dtype=torch.float64), {**theta, "a": a})
        return result

    z = f(theta["a"])
    close(z, torch.full((2,), 14.0, dtype=torch.float64))
    assert torch.autograd.grad(z.sum(), theta["a"])[0] == 8
    close(torch.vmap(torch.func.jacfwd(f))(normal(3)), torch.full((3, 2), 4.0, dtype=torch.float64))
    assert root(lambda z, t: z**2 - 2, torch.tensor(1.0, dtype=torch.float64)) ** 2 == pytest.approx(2)


@pytest.mark.parametrize(
    ("z0", "theta", "text"),
    [
        (torch.ones(2, dtype=torch.int64), 1.0, "z0 has dtype torch.int64"),
        (torch.ones(2, dtype=torch.complex64), 1.0, "z0 has dtype torch.complex64"),
        (1.0, 1.0, "not float; convert it with torch.as_tensor"),
        (torch.ones(2).to_sparse(), 1.0, "dense"),
        (torch.ones(2, device="meta"), 1.0, "meta device"),
        (torch.ones(2), torch.ones(2, device="meta"), "meta device"),
        (torch.ones(0), 1.0, "no entries"),
        ({}, 1.0, "no entries"),
    ],
)
def test_plain_errors_for_arguments(z0: Any, theta: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        root(lambda z, t: z - t, z0, theta)


@pytest.mark.parametrize("batch_axes", [-1, True, 1.0])
def test_a_number_of_batch_axes_is_expected(batch_axes: Any) -> None:
    with unchecked(), pytest.raises(ArgumentError, match=f"batch_axes={batch_axes}"):
        root(lambda z, t: z - t, torch.ones(2, 3), torch.ones(2, 3), batch_axes=batch_axes)


def test_plain_errors_for_values_of_the_function() -> None:
    for value in (None, 1.0, torch.ones(3)):
        with pytest.raises(ArgumentError, match="the value of F must be like z0"):
            root(lambda z, t: value, torch.ones(2))  # noqa: B023
    with pytest.raises(ArgumentError, match="z0 is missing"):
        FixedPointLayer(Cell())()


def test_checkpoints_inside_transformations_are_refused() -> None:
    layer = FixedPointLayer(Cell(), solver=FixedPointIteration(), differentiate="unrolled", checkpoint=True)
    with pytest.raises(OptionError, match="checkpoint=True does not work inside"):
        torch.func.grad(lambda x: layer(x).sum())(normal(2, 3))


def test_z0_of_another_dtype_starts_the_iteration_only() -> None:
    z = root(lambda z, t: z**2 - t, torch.ones(2), torch.full((2,), 2.0, dtype=torch.float64))
    close(z, torch.full((2,), 2.0, dtype=torch.float64).sqrt(), 1e-12)


def test_threads_share_a_layer() -> None:
    model = Model()
    batches = [normal(size, 2, seed=size) for size in (1, 2, 3, 5, 8, 13)]
    plain = [gradients(model, model, x) for x in batches]
    results: list[Any] = [None] * len(batches)

    def work(place: int) -> None:
        results[place] = gradients(model, model, batches[place])

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, alone in zip(results, plain, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, alone, strict=True))
