"""What every backward method provides."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import ClassVar, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float

from optlayers.arrays import Vector
from optlayers.backward.cache import Cache, Entry
from optlayers.errors import OptionError
from optlayers.kkt import (
    DerivativeReport,
    Linearization,
    LinearSolution,
    Settled,
    SymmetricSystem,
    derivative_report,
    linearize,
)
from optlayers.parallel import map_elements
from optlayers.program import ConeProgram, Structure


@final
@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """A batch of solutions (x, v = y - s) of programs of one structure, with their data (P, q, A, b); and the cache of
    what methods compute at solutions of programs of that structure."""

    structure: Structure
    data: Float[np.ndarray, "B data"]
    x: Float[np.ndarray, "B n"]
    v: Float[np.ndarray, "B m"]
    cache: Cache = field(default_factory=Cache)

    def program(self, place: int) -> ConeProgram:
        """The program of one element."""
        return ConeProgram.from_data(self.structure, self.data[place])

    def linearization(self, place: int) -> Linearization:
        """The optimality conditions of one element, linearised at its solution."""
        return linearize(self.program(place), self.x[place], self.v[place])

    @contextmanager
    def computed(self, method: AbstractBackward, compute: Callable[[Points], Entry]) -> Iterator[Entry]:
        """What `method` computes of these points, before it meets a vector, for the time of the context: it is computed
        where it is not in the cache, of points in memory of their own that nothing changes."""
        contents = np.concatenate([self.data, self.x, self.v], axis=1).tobytes()

        def anew() -> Entry:
            count, in_data, in_x = len(self.data), self.data.shape[1], self.data.shape[1] + self.x.shape[1]
            own = np.frombuffer(contents).reshape(count, in_x + self.v.shape[1])
            return compute(Points(self.structure, own[:, :in_data], own[:, in_data:in_x], own[:, in_x:], self.cache))

        with self.cache.borrow((method, contents), anew) as found:
            yield found

    def single(self, place: int) -> Points:
        """The batch of one element."""
        one = slice(place, place + 1)
        return Points(self.structure, self.data[one], self.x[one], self.v[one], self.cache)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Differentiated:
    """The products of one element's derivative with its vectors, and how they were found."""

    values: Float[np.ndarray, "k out"]
    report: DerivativeReport


class AbstractBackward(abc.ABC):
    """A method for the derivative of the solution map (P, q, A, b) -> (x, y), with its settings, a value.

    tolerance: the relative residual of the linear system at which a vector's product counts as found.
    max_iterations: most iterations of the linear solver, or refinements of a direct one.
    """

    tolerance: float
    max_iterations: int

    name: ClassVar[str]

    twice_differentiable: ClassVar[bool] = True
    """Whether the method's derivative is that of the solution itself, whose derivative is known."""

    def __post_init__(self) -> None:
        check_positive(self.name, "tolerance", self.tolerance)
        if not isinstance(self.max_iterations, Integral) or self.max_iterations < 1:
            raise OptionError(
                f"{self.name}: max_iterations must be an integer of at least 1, not {self.max_iterations!r}."
            )

    @abc.abstractmethod
    def multiply(
        self,
        system: SymmetricSystem,
        points: Points,
        vectors: Float[np.ndarray, "B k in"],
        transpose: bool,
        threads: int,
    ) -> list[Differentiated]:
        """J v for directions v of the data, giving tangents of (x, y) side by side; or J'v for cotangents of (x, y) if
        `transpose`, giving cotangents of the data. One entry for each element."""


def check_positive(method: str, option: str, value: object) -> None:
    """Raises `OptionError` unless the value is a positive, finite number."""
    if not (isinstance(value, Real) and np.isfinite(float(value)) and float(value) > 0):
        raise OptionError(f"{method}: {option} must be a positive number, not {value!r}.")


def each(points: Points, threads: int, function: Callable[[int], Differentiated]) -> list[Differentiated]:
    """The function of each element's place, `threads` at a time."""
    return map_elements(function, list(range(len(points.data))), threads)


@runtime_checkable
class Twins(Protocol):
    """A derivative at one solution, in both modes."""

    def jvp(
        self, d_data: Float[np.ndarray, "k data"]
    ) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k m"], DerivativeReport]:
        """(dx, dy) for each direction of the data."""

    def vjp(
        self, g_x: Float[np.ndarray, "k n"], g_y: Float[np.ndarray, "k m"]
    ) -> tuple[Float[np.ndarray, "k data"], DerivativeReport]:
        """The cotangents of the data for each pair of cotangents."""


def multiply_by(derivative: Twins, vectors: Float[np.ndarray, "k in"], n: int, transpose: bool) -> Differentiated:
    """The products of a derivative with an element's vectors; n variables."""
    if transpose:
        return Differentiated(*derivative.vjp(vectors[:, :n], vectors[:, n:]))
    dx, dy, report = derivative.jvp(vectors)
    return Differentiated(np.concatenate([dx, dy], axis=1), report)


def right_hand_sides(
    linearization: Linearization, vectors: Float[np.ndarray, "k in"], transpose: bool
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "m k"]]:
    """The right-hand sides of the symmetric system for an element's vectors."""
    if not transpose:
        return linearization.forward(vectors)
    n = len(linearization.x)
    return linearization.reverse(vectors[:, :n], vectors[:, n:])


def linear_solution(
    system: SymmetricSystem, linearization: Linearization, settled: Settled, iterations: int, null: Vector | None
) -> LinearSolution:
    """(x, w) of solutions of the symmetric system, and of a vector of its null space."""

    def split(z: Float[np.ndarray, "size k"]) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "m k"]]:
        return z[: len(linearization.x)], system.multiplier(linearization.D, z)

    free = None if null is None else split(null[:, None])
    return LinearSolution(*split(settled.solution), settled.residual, settled.singular, settled.error, iterations, free)


def finish(linearization: Linearization, solution: LinearSolution, method: str, transpose: bool) -> Differentiated:
    """The products that the solutions are, and their report."""
    report = derivative_report(linearization, solution, method, transpose)
    return Differentiated(linearization.products(solution.x, solution.w, transpose), report)
