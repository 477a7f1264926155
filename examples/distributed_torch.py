"""Training on several processes: DistributedDataParallel around a network that ends in an optimization layer.

    torchrun --standalone --nproc_per_node 2 examples/distributed_torch.py

A carrier ships goods from depots to towns every day. The cost of a unit, C, depends on the weather and the traffic of
the day and is known only afterwards; a network predicts it from what is known in the morning, and the day's plan is

    X(C) = argmin  <C, X> + rho/2 |X|^2    subject to  X 1 <= supply,  X'1 = demand,  X >= 0,

where rho/2 |X|^2 is the congestion of the roads. The network is trained on its regret: what the plan of the
prediction costs at the true C beyond what X(C) costs, in percent of the latter (Elmachtoub and Grigas, 2022).

The layer has no parameters and no buffers, so that DistributedDataParallel needs no setting for it: each process solves
and differentiates its share of the batch, and the gradients of the network's parameters are averaged as always. The
batches hold the same days however many processes share them, so that the losses agree up to rounding with those of one
process, which `python examples/distributed_torch.py` prints.

A layer works on the elements of its batch with as many threads as the process may use cores. Where several processes
share a machine, `solver_args` gives each its part of the cores.

On several machines, the same command on each, with the address of one of them as the meeting point:

    torchrun --nnodes 4 --nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint HOST:29500 --rdzv_id 1 \\
        examples/distributed_torch.py

A. Elmachtoub, P. Grigas, Smart "predict, then optimize", Management Science 68, 2022.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from dataclasses import dataclass

import cvxpy as cp
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from optlayers.parallel import available_cores
from optlayers.torch import CvxpyLayer

DEPOTS, TOWNS, FEATURES = 4, 6, 8
SUPPLY, DEMAND = torch.full((DEPOTS,), 1.75), torch.ones(TOWNS)
CONGESTION = 0.5


@dataclass(frozen=True)
class Processes:
    """Which of the processes this is: of all, and of those on its machine."""

    rank: int
    count: int
    on_this_machine: int

    def mean(self, value: torch.Tensor) -> float:
        """The mean of a number over the processes."""
        total = value.detach().clone()
        if self.count > 1:
            dist.all_reduce(total)
        return float(total) / self.count


def find_processes() -> Processes:
    """What torchrun says, or a single process without it."""
    if not dist.is_torchelastic_launched():
        return Processes(rank=0, count=1, on_this_machine=1)
    dist.init_process_group("gloo")
    return Processes(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_WORLD_SIZE"]))


class Plan(torch.nn.Module):
    """Costs (*B, depots, towns) -> the plan X (*B, depots, towns)."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        X, C = cp.Variable((DEPOTS, TOWNS)), cp.Parameter((DEPOTS, TOWNS))
        cost = cp.sum(cp.multiply(C, X)) + CONGESTION / 2 * cp.sum_squares(X)
        limits = [cp.sum(X, axis=1) <= SUPPLY.numpy(), cp.sum(X, axis=0) == DEMAND.numpy(), X >= 0]
        share = {"n_jobs_forward": threads, "n_jobs_backward": threads}
        self.layer = CvxpyLayer(cp.Problem(cp.Minimize(cost), limits), [C], [X], solver_args=share)

    def forward(self, costs: torch.Tensor) -> torch.Tensor:
        (plan,) = self.layer(costs)
        return plan


class Carrier(torch.nn.Module):
    """What is known in the morning (*B, features) -> the plan of the day, by way of predicted costs."""

    def __init__(self, plan: Plan, hidden: int = 32) -> None:
        super().__init__()
        self.predict = torch.nn.Sequential(
            torch.nn.Linear(FEATURES, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, DEPOTS * TOWNS)
        ).double()
        self.plan = plan

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.plan(self.predict(features).unflatten(-1, (DEPOTS, TOWNS)))


def bill(costs: torch.Tensor, plan: torch.Tensor) -> torch.Tensor:
    """<C, X> + rho/2 |X|^2 for each day."""
    return (costs * plan + CONGESTION / 2 * plan.square()).sum(dim=(-2, -1))


def make_days(count: int, plan: Plan, seed: int) -> TensorDataset:
    """Features, true costs and the bills of the best plans; distances are lengthened by the weather on the way."""
    generator = torch.Generator().manual_seed(seed)
    depots, towns = (torch.rand(each, 1, 2, generator=generator).double() for each in (DEPOTS, TOWNS))
    distance = (depots - towns.swapaxes(0, 1)).norm(dim=-1)
    influence = torch.randn(FEATURES, DEPOTS * TOWNS, generator=generator).double() / FEATURES**0.5
    features = torch.randn(count, FEATURES, generator=generator).double()
    delay = torch.nn.functional.softplus(2 * features @ influence).unflatten(-1, (DEPOTS, TOWNS))
    costs = distance * (1 + delay)
    return TensorDataset(features, costs, bill(costs, plan(costs)))


def regret(costs: torch.Tensor, plan: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    """By how much the plans cost more than the best ones, in percent; the mean over the days."""
    return 100 * (bill(costs, plan) / best - 1).mean()


def train(processes: Processes, days: int, epochs: int, batch: int) -> None:
    torch.manual_seed(0)
    plan = Plan(threads=max(1, available_cores() // processes.on_this_machine))
    data = make_days(days, plan, seed=0)
    carrier: torch.nn.Module = Carrier(plan)
    if processes.count > 1:
        carrier = DistributedDataParallel(carrier)
    optimiser = torch.optim.Adam(carrier.parameters(), lr=1e-2)
    sampler: DistributedSampler[tuple[torch.Tensor, ...]] = DistributedSampler(
        data, processes.count, processes.rank, seed=0
    )
    loader = DataLoader(data, batch_size=batch // processes.count, sampler=sampler, drop_last=True)
    for epoch in range(epochs):
        begin, losses = time.perf_counter(), []
        sampler.set_epoch(epoch)
        for features, costs, best in loader:
            optimiser.zero_grad()
            loss = regret(costs, carrier(features), best)
            loss.backward()
            optimiser.step()
            losses.append(processes.mean(loss))
        if processes.rank == 0:
            seconds = time.perf_counter() - begin
            print(f"epoch {epoch + 1}: regret {sum(losses) / len(losses):.6f} %, {seconds:.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="An optimization layer inside DistributedDataParallel.")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--days", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=64, help="days in a step, of all processes together")
    parser.add_argument("--quick", action="store_true", help="two epochs of few days: does it run?")
    given = parser.parse_args()
    torch.set_num_threads(1)  # so small a network loses more by waiting for threads than it gains
    processes = find_processes()
    if processes.rank == 0:
        print(f"processes: {processes.count}")
    train(processes, 128 if given.quick else given.days, 2 if given.quick else given.epochs, given.batch)
    if processes.count > 1:
        gc.collect()  # the model holds the group, and a group that outlives its end may abort the process
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
