"""One case, all contestants."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

import numpy as np

from benchmarks.accuracy import gradient_error, solution_error
from benchmarks.case import Case
from benchmarks.contestant import Contestant, Layer, RefusedError
from benchmarks.environment import installed
from benchmarks.formulation import Formulation, given, plain
from benchmarks.memory import peak_memory
from benchmarks.reference import Reference, make_reference
from benchmarks.result import Measurement, Result
from benchmarks.timing import call, repeat
from tests.problems import Instance, batch_values, family

SEED = 0


def make_case_reference(case: Case) -> Reference:
    """The reference of the case: the instance of the tests' seed, and a batch of values near its own."""
    instance = case.family.build(np.random.default_rng(SEED), case.size)
    values = batch_values(instance, np.random.default_rng(SEED + 1), case.batch)
    return make_reference(plain(instance), instance.parameters, values, SEED + 2)


def run_case(
    case: Case, reference: Reference, contestants: Sequence[Contestant], form: str, repeats: int, budget: float
) -> Iterator[Result]:
    """Every contestant on the case.

    form: "given" offers each the catalogue's form first, then the plain one; "plain" the plain one only.
    """
    for contestant in contestants:
        missing = [package for package in contestant.needs if installed(package) is None]
        if missing:
            yield Result(case, contestant.name, None, (f"not installed: {', '.join(missing)}",))
            continue
        try:
            yield _measure(case, reference, contestant, form, repeats, budget)
        except Exception as error:  # a rival may fail in any way, and the others go on
            yield Result(case, contestant.name, None, (f"error: {type(error).__name__}: {error}",))


def _measure(
    case: Case, reference: Reference, contestant: Contestant, form: str, repeats: int, budget: float
) -> Result:
    with warnings.catch_warnings(record=True) as caught, peak_memory() as peak:
        warnings.simplefilter("always")
        try:
            formulation, layer, set_up, refusal = _build(case, contestant, form)
        except RefusedError as error:
            return Result(case, contestant.name, None, (f"refused: {error}",))
        values = formulation.values(reference.values)
        outputs, gradients, ahead, back = call(layer, values, reference.cotangents)
    with warnings.catch_warnings(action="ignore"):
        timing = repeat(layer, values, reference.cotangents, ahead + back, repeats, budget)
    tangents = formulation.tangents(reference.values, reference.tangents)
    measurement = Measurement(
        formulation.name,
        set_up,
        timing,
        solution_error(outputs, reference),
        gradient_error(gradients, tangents, reference),
        peak.megabytes,
    )
    # A rival's use of an outdated interface says nothing of its numbers.
    telling = [each for each in caught if not issubclass(each.category, DeprecationWarning)]
    warned = dict.fromkeys(f"warning: {each.category.__name__}: {each.message}" for each in telling)
    return Result(case, contestant.name, measurement, (*refusal, *warned))


def _build(case: Case, contestant: Contestant, form: str) -> tuple[Formulation, Layer, float, tuple[str, ...]]:
    """The first form that the contestant takes, its layer, the seconds it took, and why the other was refused."""
    refused: tuple[str, ...] = ()
    if form == "given":
        try:
            return *_timed_build(case, contestant, given), ()
        except RefusedError as refusal:
            refused = (f"the given form was refused: {refusal}",)
    return *_timed_build(case, contestant, plain), refused


def _timed_build(
    case: Case, contestant: Contestant, write: Callable[[Instance], Formulation]
) -> tuple[Formulation, Layer, float]:
    # A new instance for each: CVXPY keeps what it compiles with the problem.
    formulation = write(case.family.build(np.random.default_rng(SEED), case.size))
    instance = formulation.instance
    start = perf_counter()
    layer = contestant.build(instance.problem, instance.parameters, instance.outputs)
    return formulation, layer, perf_counter() - start


def warm_up(contestants: Sequence[Contestant]) -> None:
    """Let every contestant import its packages and compile its own code, so that no case pays for it."""
    case = Case(family("scalar_problem"), 1, 1)
    for _ in run_case(case, make_case_reference(case), contestants, "given", 1, 0.0):
        pass
