"""Implicit layers as modules of PyTorch: saved, copied, moved, in parallel, in threads."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from implicit.torch_closed_forms import close, normal
from implicit.torch_models import Cell, Model, compiled, gradients
from oracles import unchecked

from optlayers.errors import ArgumentError
from optlayers.implicit import FixedPointIteration
from optlayers.torch import FixedPointLayer, ImplicitLayer, argmin


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
