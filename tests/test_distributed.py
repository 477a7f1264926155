"""DistributedDataParallel with its default settings around a layer: the gradients of two processes on half of the batch
each are those of one process on all of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cvxpy as cp
import pytest
import torch
import torch.distributed as dist
from every_cone_torch import EveryCone
from torch.nn.parallel import DistributedDataParallel

from optlayers.torch import CvxpyLayer

PROCESSES, BATCH, ASSETS, FEATURES = 2, 6, 4, 5
RELATIVE_ERROR = 1e-10
"""What rounding may do: sums in another order (1e-15) times the condition of the layer's systems (some 1e2)."""


SMALLEST = {"a shared covariance": 1e-3, "every cone": 1e-4}
"""What gradients exceed, so that there is something to compare; along z, they are as small as its steps, some 1e-3."""


class Investor(torch.nn.Module):
    """A network predicts returns mu; the root R of the covariance is learned, and shared by the batch."""

    def __init__(self) -> None:
        super().__init__()
        w, mu, R = cp.Variable(ASSETS), cp.Parameter(ASSETS), cp.Parameter((ASSETS, ASSETS))
        problem = cp.Problem(cp.Maximize(mu @ w - cp.sum_squares(R @ w)), [cp.sum(w) == 1, w >= 0])
        generator = torch.Generator().manual_seed(0)
        self.layer = CvxpyLayer(problem, [mu, R], [w])
        self.forecast = torch.nn.Linear(FEATURES, ASSETS).double()
        self.root = torch.nn.Parameter(
            torch.eye(ASSETS).double() + 0.1 * torch.randn(ASSETS, ASSETS, generator=generator).double()
        )
        with torch.no_grad():
            self.forecast.weight.normal_(generator=generator)
            self.forecast.bias.normal_(generator=generator)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        (weights,) = self.layer(self.forecast(features), self.root)
        return weights


MODELS: dict[str, Callable[[], torch.nn.Module]] = {"a shared covariance": Investor, "every cone": EveryCone}


def gradients(model: torch.nn.Module, share: slice) -> list[torch.Tensor]:
    """The gradients of the parameters, of a mean over a share of the batch."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(BATCH, FEATURES, generator=generator).double()
    weights = torch.randn(BATCH, 1, generator=generator).double()
    outputs = model(features[share])
    scales = torch.linspace(-1, 1, outputs.shape[-1]).double()
    earned = (outputs * scales * weights[share]).sum(dim=-1)
    (-earned + earned.square()).mean().backward()
    return [parameter.grad for parameter in model.parameters()]


def run_one_of_the_processes(folder: Path) -> None:
    """What each process does: the gradients after DistributedDataParallel has averaged them, in a file each model."""
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), BATCH // dist.get_world_size()
    for name, model in MODELS.items():
        found = gradients(DistributedDataParallel(model()), slice(rank * size, (rank + 1) * size))
        torch.save(found, folder / f"{name} {rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gradients")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(PROCESSES)]
    command = [sys.executable, *launch, __file__, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_one_process(folder: Path, name: str) -> None:
    whole = gradients(MODELS[name](), slice(None))
    assert all(gradient.abs().max() > SMALLEST[name] for gradient in whole)
    for rank in range(PROCESSES):
        for ours, expected in zip(torch.load(folder / f"{name} {rank}.pt"), whole, strict=True):
            assert (ours - expected).abs().max() <= RELATIVE_ERROR * expected.abs().max()


@pytest.mark.parametrize("name", MODELS)
def test_the_shares_differ_from_the_whole(name: str) -> None:
    """Otherwise equal gradients would show nothing."""
    half, whole = (gradients(MODELS[name](), share) for share in (slice(BATCH // 2), slice(None)))
    assert all((a - b).abs().max() > 1e-3 * b.abs().max() for a, b in zip(half, whole, strict=True))


if __name__ == "__main__":
    run_one_of_the_processes(Path(sys.argv[1]))
