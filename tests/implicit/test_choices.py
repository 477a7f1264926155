"""Choices of a call and of a layer: each wrong one is refused by its name, in both frameworks."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from implicit.equations import BACKENDS, Backend
from oracles import unchecked

import optlayers.jax
import optlayers.torch
from optlayers.errors import ArgumentError, OptionError
from optlayers.implicit import GMRES, LBFGS, ConjugateGradients, Newton

each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"solver": Newton}, "solver=the class Newton is no solver; give one of Newton, .* as an object"),
    ({"solver": "newton"}, "solver='newton' is no solver; give one of Newton"),
    ({"solver": 3}, "solver=3 is no solver"),
    ({"solver": GMRES()}, r"solver=GMRES\(\) solves linear systems; give it as backward=.*Newton\(linear=GMRES\(\)\)"),
    ({"solver": LBFGS()}, "LBFGS minimises; it solves argmin only, not root"),
    ({"solver": lambda F: F}, r"a function \(F, z0\) is expected, but it takes \(F\)"),
    ({"backward": GMRES}, r"backward=the class GMRES is no solver of linear systems: an object such as LU\(\)"),
    ({"backward": "lu"}, "backward='lu' is no solver of linear systems"),
    ({"backward": np.eye(2)}, r"backward=<ndarray of shape \(2, 2\)> is no solver of linear systems"),
    ({"backward": LBFGS()}, "backward=L-BFGS minimises"),
    ({"backward": ConjugateGradients()}, "solves symmetric systems only"),
    ({"on_failure": None}, 'on_failure=None does not exist; the choices are "raise", "warn", "nan"'),
    ({"on_failure": np.array([1, 2])}, r"on_failure=<ndarray of shape \(2,\)> does not exist"),
    ({"differentiate": None}, 'differentiate=None does not exist; the choices are "implicit", "unrolled", "one_step"'),
    ({"differentiate": "Implicit"}, "differentiate='Implicit' does not exist"),
    ({"last": 0, "differentiate": "unrolled"}, r"\(last=0\): a positive integer is expected"),
    ({"last": 1.0, "differentiate": "unrolled"}, r"\(last=1\.0\): a positive integer is expected"),
    ({"last": 3}, 'last= and checkpoint= belong to differentiate="unrolled"'),
    ({"checkpoint": 1}, r"\(checkpoint=1\): True or False is expected"),
    ({"monitor": True}, r"\(monitor=True\): a function \(info\) is expected"),
    ({"monitor": lambda: None}, r"a function \(info\) is expected, but it takes \(\)"),
    ({"return_info": "yes"}, r"\(return_info='yes'\): True or False is expected"),
]
"""Choices, and what is said of them."""

BATCH_AXES = (True, 1.0, -1, None, "1", np.array([1]))

each_wrong = pytest.mark.parametrize(
    ("settings", "text"), WRONG, ids=[f"{place}-{next(iter(settings))}" for place, (settings, _) in enumerate(WRONG)]
)


def module(backend: Backend) -> ModuleType:
    return optlayers.torch if backend.name == "torch" else optlayers.jax


def F(z: Any, theta: Any) -> Any:
    return z / 2 - theta


@each_backend
@each_wrong
def test_of_a_call(backend: Backend, settings: dict[str, Any], text: str) -> None:
    x = backend.array(np.ones(2))
    with unchecked(), pytest.raises(OptionError, match=text):
        backend.functions["root"](F, x, x, **settings)


@each_backend
@each_wrong
def test_of_an_explanation(backend: Backend, settings: dict[str, Any], text: str) -> None:
    x = backend.array(np.ones(2))
    with unchecked(), pytest.raises(OptionError, match=text):
        backend.functions["root"].explain(F, x, x, **settings)


@each_backend
@each_wrong
def test_of_a_layer_where_it_is_made(backend: Backend, settings: dict[str, Any], text: str) -> None:
    with unchecked(), pytest.raises(OptionError, match=text.replace("not root", "not fixed_point")):
        module(backend).FixedPointLayer(F, **settings)


@each_wrong
def test_of_a_layer_of_another_equation(settings: dict[str, Any], text: str) -> None:
    with unchecked(), pytest.raises(OptionError, match=text):
        optlayers.torch.ImplicitLayer(optlayers.torch.root, F, **settings)
    optlayers.torch.ImplicitLayer(optlayers.torch.argmin, F, solver=LBFGS(), backward=ConjugateGradients())


@each_backend
def test_batch_axes(backend: Backend) -> None:
    x = backend.array(np.ones((3, 2)))
    for batch_axes in BATCH_AXES:
        text = re.escape("batch_axes=") + ".*: an integer from 0 is expected, how many of the first axes"
        with unchecked(), pytest.raises(ArgumentError, match=text):
            backend.functions["root"](F, x, x, batch_axes=batch_axes)
        with unchecked(), pytest.raises(ArgumentError, match=text):
            module(backend).FixedPointLayer(F, batch_axes=batch_axes)
    with pytest.raises(ArgumentError, match=r"batch_axes=3, but an array of z0 has the shape \(3, 2\)"):
        backend.functions["root"](F, x, x, batch_axes=3)


@each_backend
def test_names_that_do_not_exist(backend: Backend) -> None:
    text = (
        r"has no option sovler=; the options are solver, backward, differentiate, last, checkpoint, on_failure, "
        r"monitor, return_info\. Did you mean solver=\?"
    )
    x = backend.array(np.ones(2))
    with pytest.raises(OptionError, match="fixed_point " + text):
        module(backend).FixedPointLayer(F, sovler=Newton())
    with pytest.raises(OptionError, match="root " + text):
        backend.functions["root"].explain(F, x, x, sovler=Newton())
    with pytest.raises(OptionError, match=r"has no option beam=; the options are [a-z_, ]+\.$"):
        module(backend).FixedPointLayer(F, beam=3)


@each_backend
def test_an_explanation_and_a_layer_take_every_choice_of_a_call(backend: Backend) -> None:
    x = backend.array(np.ones(2))
    assert "root" in backend.functions["root"].explain(F, x, x, return_info=True)
    layer = module(backend).FixedPointLayer(F, batch_axes=0, return_info=True)
    assert "fixed_point" in layer.explain(x)
    _, info = layer(x)
    assert bool(info.solved)


@each_backend
def test_cells(backend: Backend) -> None:
    Layer = module(backend).FixedPointLayer
    for cell in (None, torch.nn.Linear, 3.0):
        with unchecked(), pytest.raises(ArgumentError, match=r"a layer takes a cell, an object that is called as"):
            Layer(cell)
    x = backend.array(np.ones((1, 2)))
    with pytest.raises(ArgumentError, match=r"called with 2 inputs, and .* but the cell takes \(z.*theta"):
        Layer(F)(x, x)
    with pytest.raises(ArgumentError, match=r"called with 0 inputs, and .* but the cell takes \(z.*theta"):
        Layer(F)(z0=x)
    with pytest.raises(ArgumentError, match=r"called with 2 inputs, and .* but the cell takes \(z.*theta"):
        Layer(F).explain(x, x)
    for inputs in ((), ({"x": x},), (1.0,)):
        with pytest.raises(ArgumentError, match=r"z0 is missing: it is zeros like the first input only where that is"):
            Layer(lambda z, *inputs: z)(*inputs)


def test_a_module_that_takes_no_input_is_no_cell_for_one() -> None:
    with pytest.raises(ArgumentError, match=r"called with 1 input, and .* but the cell takes \(input"):
        optlayers.torch.FixedPointLayer(torch.nn.Linear(2, 2))(torch.zeros(1, 2))


@pytest.mark.parametrize("first", [F, "root", optlayers.jax.root, None], ids=["a cell", "a name", "JAX's", "None"])
def test_layers_of_no_equation(first: Any) -> None:
    text = r"takes root, fixed_point or argmin of optlayers\.torch first, and then the cell"
    with unchecked(), pytest.raises(ArgumentError, match=text):
        optlayers.torch.ImplicitLayer(first, F)


def test_a_tree_of_a_jax_layer_may_hold_anything() -> None:
    """As JAX makes trees of flags, or of nothing."""
    import jax

    layer = optlayers.jax.FixedPointLayer(jax.tree_util.Partial(F), solver=Newton())
    leaves, structure = jax.tree.flatten(layer)
    assert jax.tree.unflatten(structure, leaves).settings == layer.settings
    assert jax.tree.map(lambda leaf: None, layer).settings == layer.settings
    np.testing.assert_allclose(jax.jit(lambda layer, x: layer(x))(layer, jnp.ones(2)), -2, rtol=1e-9)
