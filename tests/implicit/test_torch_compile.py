"""Implicit layers under torch.compile."""

from __future__ import annotations

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from implicit.torch_closed_forms import close, normal
from implicit.torch_models import Cell, Model, compiled, gradients
from oracles import unchecked

from optlayers.errors import ArgumentError, CaptureError, DerivativeError
from optlayers.implicit import FixedPointIteration
from optlayers.torch import FixedPointLayer, ImplicitLayer, argmin, root
from optlayers.torch.framework import TORCH

OUTSIDE = (normal(3, 3, seed=4) / 10).requires_grad_()


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
