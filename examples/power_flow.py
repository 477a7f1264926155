"""The voltages of a power network as the root of an equation: lines fitted to measurements, and the end of the root.

    python examples/power_flow.py

With the admittances Y of a network's lines, the complex voltages V of its buses satisfy the power flow equations

    V_i conj((Y V)_i) = S_i,

S_i the power that is fed in at bus i: generated less consumed. At the buses with generators the magnitude of V is
given instead of the reactive power, and at one of them, the slack, all of V. The rest, 13 angles and 9 magnitudes for
the network of 14 buses taken here, is a root that Newton's method finds from V = 1, for many states of load at once.

1. The root is compared with the solution that was published with the data.
2. Reactances and resistances of the lines are fitted to measured voltages in different states of load, from values that
   are wrong by up to 30 %, by Levenberg and Marquardt's method; the Jacobian of the measured voltages by the 35 line
   parameters is that of the root, in forward mode. Measurements are made: the voltages of the true lines, with noise.
3. All loads and generation are scaled up. At the nose two roots meet and the Jacobian is singular: the voltage
   collapses. What optlayers reports is printed: on the way, the condition number of the Jacobian, by `monitor`; beyond
   the nose, where there is no root, a `ConvergenceError` that names the elements of the batch. At the nose itself the
   voltages have no derivative, and a `SingularWarning` says so, as the condition number exceeds 1/sqrt(eps). But the
   nose is a root too, of a larger, regular system in the voltages, the load level, and a null vector of the Jacobian
   (Moore and Spence, 1980). So the load at which the voltage collapses has derivatives, by the lines here.

What is seen: with voltages measured to 0.0002, reactances have errors of 0.2 % in the median and 1.5 % at most, and
resistances of 1.3 % and 7.5 %, in line with their standard deviations. The nose is at 4.06 times the load of the data.
The condition number grows from 200 to 8,000 at a thousandth below the nose, and as the inverse root of the distance.
At the nose the root has but half of its digits, so that the condition number found depends on the solver's tolerance:
5e10 with 1e-14, and with the default tolerance just above the limit at which the warning comes.

Data: IEEE 14 bus test case (American Electric Power, 1962; Power systems test case archive, University of Washington),
https://labs.ece.uw.edu/pstca, as in `case14.m` of MATPOWER. Limits of reactive power are not regarded.

G. Moore, A. Spence, The calculation of turning points of nonlinear equations, SIAM J. Numerical Analysis 17, 1980.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch

from optlayers.errors import ConvergenceError
from optlayers.implicit import STATUSES, LinearInfo, Newton
from optlayers.torch import root

torch.set_default_dtype(torch.float64)

BASE = 100.0
"""MVA of a power of 1"""

# The load in MW and MVAr; the generation in MW; the published solution, magnitude, and angle in degrees; and the MVAr
# that a capacitor feeds in at a voltage of 1.
BUSES = np.array([
    (0, 0, 232.4, 1.060, 0, 0),
    (21.7, 12.7, 40, 1.045, -4.98, 0),
    (94.2, 19.0, 0, 1.010, -12.72, 0),
    (47.8, -3.9, 0, 1.019, -10.33, 0),
    (7.6, 1.6, 0, 1.020, -8.78, 0),
    (11.2, 7.5, 0, 1.070, -14.22, 0),
    (0, 0, 0, 1.062, -13.37, 0),
    (0, 0, 0, 1.090, -13.36, 0),
    (29.5, 16.6, 0, 1.056, -14.94, 19),
    (9.0, 5.8, 0, 1.051, -15.10, 0),
    (3.5, 1.8, 0, 1.057, -14.79, 0),
    (6.1, 1.6, 0, 1.055, -15.07, 0),
    (13.5, 5.8, 0, 1.050, -15.16, 0),
    (14.9, 5.0, 0, 1.036, -16.04, 0),
])  # fmt: skip
GENERATORS = np.array([0, 1, 2, 5, 7])
"""the buses with a magnitude that is given; the first is the slack"""
OTHERS = np.setdiff1d(np.arange(len(BUSES)), GENERATORS)

# From bus, to bus (from 1), resistance, reactance, charging susceptance, and the ratio of the transformer.
LINES = np.array([
    (1, 2, 0.01938, 0.05917, 0.0528, 1),
    (1, 5, 0.05403, 0.22304, 0.0492, 1),
    (2, 3, 0.04699, 0.19797, 0.0438, 1),
    (2, 4, 0.05811, 0.17632, 0.0340, 1),
    (2, 5, 0.05695, 0.17388, 0.0346, 1),
    (3, 4, 0.06701, 0.17103, 0.0128, 1),
    (4, 5, 0.01335, 0.04211, 0, 1),
    (4, 7, 0, 0.20912, 0, 0.978),
    (4, 9, 0, 0.55618, 0, 0.969),
    (5, 6, 0, 0.25202, 0, 0.932),
    (6, 11, 0.09498, 0.19890, 0, 1),
    (6, 12, 0.12291, 0.25581, 0, 1),
    (6, 13, 0.06615, 0.13027, 0, 1),
    (7, 8, 0, 0.17615, 0, 1),
    (7, 9, 0, 0.11001, 0, 1),
    (9, 10, 0.03181, 0.08450, 0, 1),
    (9, 14, 0.12711, 0.27038, 0, 1),
    (10, 11, 0.08205, 0.19207, 0, 1),
    (12, 13, 0.22092, 0.19988, 0, 1),
    (13, 14, 0.17093, 0.34802, 0, 1),
])  # fmt: skip
FROM, TO = LINES[:, :2].astype(int).T - 1
RESISTIVE = np.flatnonzero(LINES[:, 2])

NOISE = 2e-4
"""The standard deviation of measured magnitudes and angles."""
STEP = 1e-4
"""Of central differences, in logarithms of reactances."""


class Lines(NamedTuple):
    """Logarithms of resistances (15), of the lines that have one, and of reactances (20)."""

    resistance: torch.Tensor
    reactance: torch.Tensor


TRUTH = Lines(torch.tensor(np.log(LINES[RESISTIVE, 2])), torch.tensor(np.log(LINES[:, 3])))


class Voltages(NamedTuple):
    """Angles (*B, 13) of all buses but the slack, and magnitudes (*B, 9) of those without generators."""

    angle: torch.Tensor
    magnitude: torch.Tensor


class Power(NamedTuple):
    """Fed in at the buses, active and reactive (*B, 14); the latter is not read at generators."""

    active: torch.Tensor
    reactive: torch.Tensor


POWER = Power(torch.tensor((BUSES[:, 2] - BUSES[:, 0]) / BASE), torch.tensor(-BUSES[:, 1] / BASE))
"""of the data"""

GIVEN = torch.tensor(BUSES[:, 3])
PLACE = torch.eye(len(BUSES))[OTHERS]
"""(9, 14) of the buses without generators"""
BEGIN, END = (torch.eye(len(BUSES), dtype=torch.complex128)[buses] for buses in (FROM, TO))
"""(20, 14) of the lines"""
CHARGING, RATIO = torch.tensor(LINES[:, 4] / 2), torch.tensor(LINES[:, 5])
SPREAD = torch.eye(len(LINES))[RESISTIVE]


def admittance(lines: Lines) -> torch.Tensor:
    """Y (14, 14), complex."""
    y = 1 / torch.complex(lines.resistance.exp() @ SPREAD, lines.reactance.exp())
    end = (y + 1j * CHARGING)[:, None] * END
    begin = ((y + 1j * CHARGING) / RATIO**2)[:, None] * BEGIN
    across = (y / RATIO)[:, None]
    shunt = torch.diag(torch.tensor(1j * BUSES[:, 5] / BASE))
    return BEGIN.T @ (begin - across * END) + END.T @ (end - across * BEGIN) + shunt


def complete(z: Voltages) -> torch.Tensor:
    """V (*B, 14), complex."""
    angle = torch.nn.functional.pad(z.angle, (1, 0))
    magnitude = GIVEN * (1 - PLACE.sum(0)) + z.magnitude @ PLACE
    return torch.complex(magnitude * angle.cos(), magnitude * angle.sin())


def mismatch(z: Voltages, theta: tuple[Lines, Power]) -> Voltages:
    """F(z, theta): the power that flows off the buses less what is fed in, as far as that is given."""
    lines, power = theta
    V = complete(z)
    flow = V * (V @ admittance(lines).T).conj()
    return Voltages((flow.real - power.active)[..., 1:], (flow.imag - power.reactive)[..., OTHERS])


def flat(*batch: int) -> Voltages:
    """V = 1, but for what is given."""
    return Voltages(torch.zeros(*batch, len(BUSES) - 1), torch.ones(*batch, len(OTHERS)))


def scaled(levels: torch.Tensor) -> Power:
    """All powers of the data, at each of the load levels (*B)."""
    return Power(*(levels[..., None] * each for each in POWER))


def compare_published() -> None:
    z, info = root(mismatch, flat(), (TRUTH, POWER), return_info=True)
    V = complete(z)
    magnitude = float((V.abs() - GIVEN).abs().max())
    angle = float((V.angle().rad2deg() - torch.tensor(BUSES[:, 4])).abs().max())
    print(
        f"the data's load: Newton's iterations {int(info.iterations)}, residual {float(info.residual):.0e}; from the "
        f"published solution, of 3 and 2 decimals, {magnitude:.4f} and {angle:.2f} degrees at most"
    )


# Lines fitted to measurements


def flatten(tree: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.cat([each.flatten() for each in tree])


def lines_of(p: torch.Tensor) -> Lines:
    return Lines(*p.split([len(RESISTIVE), len(LINES)]))


class Normal(NamedTuple):
    """|r|^2 / 2 of the deviations r from measurements, its gradient J'r, J'J, and Newton's iterations, at most."""

    loss: torch.Tensor
    gradient: torch.Tensor
    square: torch.Tensor
    iterations: int


def fit(states: int, steps: int, seed: int) -> None:
    """The states of load are the data's at levels from 0.5 to 2, each bus varied by a quarter."""
    rng = np.random.default_rng(seed)
    varied = torch.tensor(np.linspace(0.5, 2.0, states)[:, None] * rng.uniform(0.75, 1.25, (states, len(BUSES))))
    power = Power(*(varied * each for each in POWER))
    exact = flatten(root(mismatch, flat(states), (TRUTH, power), batch_axes=1))
    measured = exact + NOISE * torch.tensor(rng.standard_normal(exact.shape))
    truth = flatten(TRUTH)
    start = truth + torch.tensor(rng.uniform(np.log(0.7), np.log(1.3), truth.shape))

    def normal(p: torch.Tensor) -> Normal:
        def deviations(p: torch.Tensor) -> Any:
            z, info = root(mismatch, flat(states), (lines_of(p), power), batch_axes=1, return_info=True)
            r = (flatten(z) - measured) / NOISE
            return r, (r, info.iterations)

        J, (r, iterations) = torch.func.jacfwd(deviations, has_aux=True)(p)
        return Normal(r @ r / 2, J.T @ r, J.T @ J, int(iterations.max()))

    count = len(measured)
    print(f"\n{states} states of load, {count} measurements, {len(truth)} parameters of the lines")
    print("step   mean squared deviation   largest error of a parameter   Newton's iterations")
    p, at, damping = start, normal(start), 1e-2
    for step in range(steps + 1):
        if step in (0, 1, steps) or step % 5 == 0:
            error = 100 * float(torch.expm1(p - truth).abs().max())
            print(f"{step:4d}   {2 * float(at.loss) / count:22.4f}   {error:26.2f} %   {at.iterations:19d}")
        trial = p - torch.linalg.solve(at.square + damping * at.square.diag().diag(), at.gradient)
        new = normal(trial)
        p, at, damping = (trial, new, damping / 4) if new.loss <= at.loss else (p, at, damping * 4)
    report_fit(p, torch.linalg.inv(at.square).diag().sqrt(), start)


def report_fit(found: torch.Tensor, deviation: torch.Tensor, start: torch.Tensor) -> None:
    for name, *values in zip(Lines._fields, lines_of(found), lines_of(deviation), TRUTH, lines_of(start), strict=True):
        p, sigma, truth, begun = values
        off, before = (100 * torch.expm1(each - truth).abs() for each in (p, begun))
        print(
            f"{name}s: errors of {float(off.median()):.2f} % (median) and {float(off.max()):.2f} % (most), at first "
            f"{float(before.median()):.0f} and {float(before.max()):.0f} %; in standard deviations, root of the mean "
            f"square {float(((p - truth) / sigma).square().mean().sqrt()):.2f}"
        )


# The nose


def lowest_voltages(levels: torch.Tensor, **settings: Any) -> tuple[torch.Tensor, Voltages, Any]:
    """The lowest magnitude at each load level, with all of z, and its info."""
    z, info = root(mismatch, flat(len(levels)), (TRUTH, scaled(levels)), batch_axes=1, return_info=True, **settings)
    return z.magnitude.amin(-1), z, info


def null_vector_system(unknowns: Any, lines: Lines) -> Any:
    """F(z) = 0, J_z v = 0, |v|^2 = 1 in z, v and the load level (Moore and Spence)."""
    z, v, level = unknowns
    value, change = torch.func.jvp(lambda z: mismatch(z, (lines, scaled(level))), (z,), (v,))
    return value, change, sum(each.square().sum() for each in v) - 1


def find_nose(lines: Lines, near: Voltages, level: float) -> torch.Tensor:
    """The load level of the nose, from a state near to it."""
    J = torch.func.jacrev(lambda *z: flatten(mismatch(Voltages(*z), (TRUTH, scaled(torch.tensor(level))))), (0, 1))
    v = torch.linalg.svd(torch.cat(J(*near), dim=-1))[2][-1].detach()
    null_vector = Voltages(*v.split([each.numel() for each in near]))
    return root(null_vector_system, (near, null_vector, torch.tensor(level)), lines)[2]


def report_nose() -> float:
    """The load level of the nose, and the lines to which it is most sensitive."""
    level = 4.05
    _, near, _ = lowest_voltages(torch.tensor([level]))
    near = Voltages(*(each[0] for each in near))
    lines = Lines(*(each.clone().requires_grad_() for each in TRUTH))
    nose = find_nose(lines, near, level)
    (slope,) = torch.autograd.grad(nose, lines.reactance)
    print(f"\nthe nose: {nose.item():.6f} times the load of the data")

    def moved(step: torch.Tensor) -> torch.Tensor:
        return find_nose(Lines(TRUTH.resistance, TRUTH.reactance + step), near, level)

    along = STEP * torch.eye(len(LINES))
    differences = torch.stack([(moved(step) - moved(-step)) / (2 * STEP) for step in along])
    error = float((slope - differences).abs().max() / differences.abs().max())
    first = slope.abs().argsort(descending=True)[:3].tolist()
    named = ", ".join(f"{FROM[line] + 1}-{TO[line] + 1} by {slope[line] / 100:+.5f}" for line in first)
    print(f"one percent of reactance moves it most at the lines {named}")
    print(f"relative error of these derivatives, by central differences: {error:.0e}")
    return nose.item()


def approach_nose(nose: float) -> None:
    """Newton's method goes on as far as rounding allows: where two roots meet, z has but half the digits of F."""
    far, near = torch.tensor([1.0, 2.0, 3.0, 3.5, 4.0, 4.05]), torch.tensor([1e-3, 1e-6, 1e-9, 0.0])
    levels = torch.cat([far, nose - near]).requires_grad_()
    names = [f"{level:g}" for level in far] + [f"nose - {distance:g}" for distance in near[:-1]] + ["nose"]
    print(
        "\nload level     lowest voltage   its derivative   Newton's iterations   condition   status of the derivative"
    )
    seen: list[LinearInfo] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for solver, shown in ((Newton(tolerance=1e-14), range(len(names))), (Newton(), [len(names) - 1])):
            lowest, _, info = lowest_voltages(levels, solver=solver, monitor=seen.append, on_failure="warn")
            (slopes,) = torch.autograd.grad(lowest.sum(), levels)
            for index in shown:
                print(
                    f"{names[index]:<12}   {lowest[index].item():14.4f}   {slopes[index].item():14.4g}"
                    f"   {int(info.iterations[index]):19d}   {seen[-1].condition[index]:9.0e}"
                    f"   {STATUSES[int(seen[-1].status[index])].name}"
                )
            if len(shown) > 1:
                print("the nose again, with the default tolerance of Newton's method:")
    print("\nof the nose optlayers says:")
    for each in caught:
        print(f"{each.category.__name__}: {each.message}")


def go_beyond(nose: float) -> None:
    levels = torch.tensor([1.0, nose + 0.01, 2.0, nose + 0.5])
    print("\nof load levels beyond the nose, by 0.01 and by 0.5, it says:")
    try:
        lowest_voltages(levels)
    except ConvergenceError as error:
        print(f"{type(error).__name__}: {error}")
    lowest, _, info = lowest_voltages(levels, on_failure="nan")
    print(f"on_failure='nan': {', '.join(f'{value:.4f}' for value in lowest.tolist())}; ", end="")
    print(", ".join(STATUSES[int(status)].name for status in info.status))


def main() -> None:
    parser = argparse.ArgumentParser(description="AC power flow as an implicit layer.")
    parser.add_argument("--states", type=int, default=96, help="states of load in which voltages are measured")
    parser.add_argument("--steps", type=int, default=10, help="of Levenberg and Marquardt's method")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="no difference: it is quick anyway")
    given = parser.parse_args()
    compare_published()
    fit(given.states, given.steps, given.seed)
    nose = report_nose()
    approach_nose(nose)
    go_beyond(nose)


if __name__ == "__main__":
    main()
