"""The solution map of a parametric cone program: bind, solve, refine, recover, and the derivative of all that.

Every differentiable object of the package has the three methods of `SolutionMap` and nothing else:

    forward(theta) -> out, residuals                      theta (*B, p) -> (*B, k); residuals are arrays only
    derivative(residuals, v, transpose) -> J v or J'v     linear in v; leading axes broadcast
    second_derivative(residuals, a, b, transpose)         T(a, b) = d(J a) along b, or T'(a, b) = d(J'a) along b

so that a front-end needs just three primitives, each the derivative of the one before, and closed under transposition:

    the transpose of J is J', and of b -> T(a, b) it is g -> T'(g, a);
    T is symmetric, and so is c -> T'(g, c), the Hessian of g'out; the transpose of g -> T'(g, b) is c -> T(c, b).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float

from optlayers.arrays import Vector
from optlayers.backward import AbstractBackward, Cache, Points, SparseDirect, second_products
from optlayers.batch_axes import BatchAxes, index_of
from optlayers.errors import AccuracyWarning, ElementFailure, SingularWarning, SolveError, Status
from optlayers.exact_solve import ExactSolution, Report, solve_exactly
from optlayers.kkt import DerivativeReport, Refinement, SymmetricSystem
from optlayers.parallel import available_cores, map_elements
from optlayers.program import ConeProgram, ParametricProgram
from optlayers.solvers import Call
from optlayers.user_warning import warn_user

THREADING_SIZE = 500
"""Programs of at least this many variables and rows are solved side by side where the call does not say otherwise.
Below, and in derivatives, threads wait for the interpreter longer than they save (measured on two cores)."""


LINEAR_ACCURACY = 1e-9
"""Relative residual of a derivative's linear system above which a warning says so; a NaN among its vectors is no
inaccuracy and passes through."""

TRUSTED_ERROR = 1e-6
"""Estimate of a derivative's relative error above which a warning says that it is not to be trusted."""

AMBIGUITY_TOLERANCE = 1e-8
"""Derivatives are ambiguous where a parameter moves the data by more than this part of an ambiguous cotangent."""

NO_THIRD_DERIVATIVE = (
    "third derivatives through the solution are not available. Detach the second derivative, or take differences of it."
)
"""What front-ends say where one is asked for."""


class Residuals(NamedTuple):
    """What `derivative` needs of `forward`: the parameters, and the solution by x and v = y - s."""

    theta: Float[np.ndarray, "*B p"]
    x: Float[np.ndarray, "*B n"]
    v: Float[np.ndarray, "*B m"]


@runtime_checkable
class SolutionMap(Protocol):
    """theta -> out, differentiable: the one interface between the numerics and the front-ends."""

    @property
    def input_size(self) -> int:
        """p"""

    @property
    def output_size(self) -> int:
        """k"""

    @property
    def residual_sizes(self) -> tuple[int, ...]:
        """The lengths of the residuals beside theta."""

    def forward(self, theta: Float[np.ndarray, "*B p"]) -> tuple[Float[np.ndarray, "*B k"], Residuals]:
        """out and what its derivative needs."""

    def derivative(
        self, residuals: Residuals, v: Float[np.ndarray, "..."], transpose: bool
    ) -> Float[np.ndarray, "..."]:
        """J v, or J' v if `transpose`."""

    def second_derivative(
        self, residuals: Residuals, first: Float[np.ndarray, "..."], second: Float[np.ndarray, "..."], transpose: bool
    ) -> Float[np.ndarray, "..."]:
        """The derivative of J `first`, or of J' `first` if `transpose`, along `second`."""


@final
@dataclass(frozen=True)
class ConeSolutionMap:
    """The solution map of `parametric`, computed as `call` says.

    Equal maps are interchangeable: the program is compared by identity, the settings by value. `system` is the
    symmetric system of the program's structure, which keeps its symbolic analysis. `cache` keeps what was factored at
    the points last met: no result depends on it, and neither pickles nor files carry it.
    """

    parametric: ParametricProgram
    call: Call
    system: SymmetricSystem = field(compare=False, repr=False)
    refinement: Refinement = field(default_factory=Refinement)
    backward: AbstractBackward = field(default_factory=SparseDirect)
    cache: Cache = field(default_factory=Cache, compare=False, repr=False)

    def __str__(self) -> str:
        """What goes in and out, and how it is computed."""
        return f"{self.parametric.signature}, solver={self.call.solver.name}, backward={self.backward.name}"

    def __deepcopy__(self, memo: object) -> ConeSolutionMap:
        """Itself: nothing of it changes."""
        return self

    @property
    def input_size(self) -> int:
        return self.parametric.signature.p

    @property
    def output_size(self) -> int:
        return self.parametric.signature.k

    @property
    def residual_sizes(self) -> tuple[int, ...]:
        return self.parametric.structure.n, self.parametric.structure.m

    def forward(self, theta: Float[np.ndarray, "*B p"]) -> tuple[Float[np.ndarray, "*B k"], Residuals]:
        """The outputs at theta, and the residuals; see `solve` for what is raised and warned of."""
        out, residuals, _ = self.solve(theta)
        return out, residuals

    def solve(self, theta: Float[np.ndarray, "*B p"]) -> tuple[Float[np.ndarray, "*B k"], Residuals, list[Report]]:
        """The outputs at theta, the residuals, and a report for each element of the flattened batch.

        Raises `ArgumentError` before any solve if a value is not finite or breaks a rule of its parameter, `SolveError`
        if some element has no solution. Warns `AccuracyWarning` where a point misses the refinement's tolerance, or a
        semidefinite parameter is so up to its tolerance only.
        """
        for doubt in self.parametric.signature.check_values(theta):
            warn_user(doubt, AccuracyWarning)
        self.cache.trim()
        structure, batch = self.parametric.structure, theta.shape[:-1]
        data = self.parametric.data.apply(theta).reshape(int(np.prod(batch)), structure.data_size)
        elements = map_elements(self._solve_element, list(data), self._forward_threads)
        self._report_solutions(elements, batch)
        x = np.array([element.x for element in elements]).reshape(*batch, structure.n)
        v = np.array([element.v for element in elements]).reshape(*batch, structure.m)
        y = np.array([element.y for element in elements]).reshape(*batch, structure.m)
        out = self.parametric.recovery.apply(np.concatenate([x, y], axis=-1))
        return out, Residuals(theta, x, v), [element.report for element in elements]

    def derivative(
        self, residuals: Residuals, v: Float[np.ndarray, "*C size"], transpose: bool
    ) -> Float[np.ndarray, "*D other"]:
        """J v (v a direction of theta), or J' v (v a cotangent of the output), at the solution in `residuals`."""
        return self.differentiate(residuals, v, transpose)[0]

    def differentiate(
        self, residuals: Residuals, v: Float[np.ndarray, "*C size"], transpose: bool
    ) -> tuple[Float[np.ndarray, "*D other"], list[DerivativeReport]]:
        """What `derivative` returns, and a report for each element of the flattened batch.

        Leading axes broadcast; each distinct solution is factored once, however many vectors meet it.
        Warns `SingularWarning` where the derivative does not exist and the documented choice was taken.
        """
        axes = BatchAxes.of(residuals.theta, v)
        vectors = axes.group(_without_subnormals(v))
        count, kept = len(vectors), vectors.shape[:-1]
        inner = self._inward(vectors, transpose)
        flat = inner.reshape(count, int(np.prod(kept[1:])), inner.shape[-1])
        results = self.backward.multiply(self.system, self._points(residuals), flat, transpose, self._backward_threads)
        reports = self._reported([result.report for result in results], axes, transpose)
        size = self.parametric.structure.data_size if transpose else sum(self.residual_sizes)
        products = np.array([result.values for result in results]).reshape(*kept, size)
        return axes.ungroup(self._outward(products, transpose)), reports

    def second_derivative(
        self,
        residuals: Residuals,
        first: Float[np.ndarray, "*C size"],
        second: Float[np.ndarray, "*D p"],
        transpose: bool,
    ) -> Float[np.ndarray, "*E other"]:
        """The derivative of J `first` (a direction of theta), or of J' `first` (a cotangent of the output) if
        `transpose`, along `second`, a direction of theta, at the solution in `residuals`.

        Leading axes broadcast; what is repeated along an axis of length one is solved for once. Warns as `derivative`
        does; raises `DerivativeError` if the backward method has no second derivative.
        """
        axes = BatchAxes.of(residuals.theta, first, second)
        found = second_products(
            self.backward,
            self.system,
            self._points(residuals),
            self._inward(axes.group(_without_subnormals(first)), transpose),
            self.parametric.data.jvp(axes.group(_without_subnormals(second))),
            transpose,
            self._backward_threads,
        )
        self._reported(found.reports, axes, False)
        return axes.ungroup(self._outward(found.values, transpose))

    def _points(self, residuals: Residuals) -> Points:
        structure, elements = self.parametric.structure, int(np.prod(residuals.theta.shape[:-1]))
        return Points(
            structure,
            self.parametric.data.apply(residuals.theta).reshape(elements, structure.data_size),
            residuals.x.reshape(elements, structure.n),
            residuals.v.reshape(elements, structure.m),
            self.cache,
        )

    def _inward(self, vectors: Float[np.ndarray, "*C size"], transpose: bool) -> Float[np.ndarray, "*C inner"]:
        """Cotangents of (x, y), or directions of the data."""
        return self.parametric.recovery.vjp(vectors) if transpose else self.parametric.data.jvp(vectors)

    def _outward(self, products: Float[np.ndarray, "*C inner"], transpose: bool) -> Float[np.ndarray, "*C other"]:
        """Cotangents of theta, or tangents of the output."""
        return self.parametric.data.vjp(products) if transpose else self.parametric.recovery.jvp(products)

    @property
    def _backward_threads(self) -> int:
        return self.call.backward_threads or 1

    @property
    def _forward_threads(self) -> int:
        structure = self.parametric.structure
        large = structure.n + structure.m >= THREADING_SIZE
        return self.call.forward_threads or (available_cores() if large else 1)

    def _solve_element(self, data: Vector) -> ExactSolution:
        program = ConeProgram.from_data(self.parametric.structure, data)
        return solve_exactly(program, self.call.solver, self.system, self.refinement, self.call.direct)

    def _reported(
        self, reports: Sequence[DerivativeReport], axes: BatchAxes, transpose: bool
    ) -> list[DerivativeReport]:
        """The reports of the elements, judged, after warning of what they say."""
        judged = [self._judge(report, transpose) for report in reports]
        self._warn_derivatives(judged, axes.batch)
        return judged

    def _judge(self, report: DerivativeReport, transpose: bool) -> DerivativeReport:
        """The report, singular also where what may be added to the products is felt outside: the parameters move the
        data along it, or the outputs move with it."""
        if report.ambiguity is None:
            return report
        size = float(np.abs(report.ambiguity).max(initial=0.0))
        felt = float(np.abs(self._outward(report.ambiguity, transpose)).max(initial=0.0))
        return dataclasses.replace(report, singular=report.singular or felt > AMBIGUITY_TOLERANCE * size)

    def _report_solutions(self, elements: Sequence[ExactSolution], batch: tuple[int, ...]) -> None:
        reports = [element.report for element in elements]
        failures = [
            ElementFailure(index_of(place, batch), report.status, report.detail)
            for place, report in enumerate(reports)
            if not report.status.has_point
        ]
        if failures:
            raise SolveError(failures)
        inaccurate = [place for place, report in enumerate(reports) if report.status is Status.INACCURATE]
        if inaccurate:
            worst = max(inaccurate, key=lambda place: reports[place].residual)
            warn_user(
                f"{len(inaccurate)} of {len(reports)} solutions miss the requested accuracy; the largest relative KKT "
                f"residual is {reports[worst].residual:.1e}{_where(worst, batch)}, where at most "
                f"{self.refinement.tolerance:.0e} was asked for. Scale the problem's data, or try another solver.",
                AccuracyWarning,
            )

    def _warn_derivatives(self, reports: Sequence[DerivativeReport], batch: tuple[int, ...]) -> None:
        singular = [place for place, report in enumerate(reports) if report.singular]
        if singular:
            warn_user(
                f"the solution is not differentiable for {len(singular)} of {len(reports)} elements"
                f"{_where(singular[0], batch)}: it is not unique there, or its multipliers are not. The least-squares "
                'derivative of minimum norm was returned (docs/mathematics.md, "Degeneracy").',
                SingularWarning,
            )
        kinks = [place for place, report in enumerate(reports) if report.weakly_active and not report.singular]
        if kinks:
            warn_user(
                f"the solution has a kink for {len(kinks)} of {len(reports)} elements{_where(kinks[0], batch)}: "
                f"{reports[kinks[0]].weakly_active} constraints hold there with a multiplier of zero. They count as "
                'inactive (docs/mathematics.md, "Degeneracy").',
                SingularWarning,
            )
        doubtful = [place for place, report in enumerate(reports) if report.error > TRUSTED_ERROR]
        if doubtful:
            worst = max(doubtful, key=lambda place: reports[place].error)
            warn_user(
                f"{len(doubtful)} of {len(reports)} derivatives are not to be trusted: the problem is so "
                f"ill-conditioned that their relative error is {reports[worst].error:.1e}"
                f"{_where(worst, batch)}, as far as it can be estimated. Scale the problem's data, or "
                "regularize the problem.",
                AccuracyWarning,
            )
        inaccurate = [
            place for place, report in enumerate(reports) if not (report.singular or report.residual <= LINEAR_ACCURACY)
        ]
        if inaccurate:
            worst = max(inaccurate, key=lambda place: reports[place].residual)
            warn_user(
                f"{len(inaccurate)} of {len(reports)} derivatives are inaccurate: the optimality conditions are "
                "singular or so ill-conditioned that their linear system is solved to a relative residual of "
                f"{reports[worst].residual:.1e} only{_where(worst, batch)}. Scale the problem's data.",
                AccuracyWarning,
            )


def _without_subnormals(vectors: Float[np.ndarray, "*C size"]) -> Float[np.ndarray, "*C size"]:
    """The vectors, with zeros for entries that have lost relative accuracy themselves: memory that was never written,
    which PyTorch's `linearize` multiplies by, would otherwise be reported as ill-conditioned."""
    return np.where(np.abs(vectors) < np.finfo(np.float64).tiny, 0.0, vectors)


def _where(place: int, batch: tuple[int, ...]) -> str:
    return f" (batch index {index_of(place, batch)})" if batch else ""
