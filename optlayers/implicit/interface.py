"""`root`, `fixed_point` and `argmin`, for any framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from optlayers.errors import ArgumentError
from optlayers.implicit.checks import check_flag
from optlayers.implicit.choices import check_settings, settings_of
from optlayers.implicit.equation import Equation, Problem
from optlayers.implicit.explanation import explain
from optlayers.implicit.forms import Rebuild, UserFunction
from optlayers.implicit.framework import Array, Framework
from optlayers.implicit.layout import Layout, check_batch_axes
from optlayers.implicit.linear import AbstractLinearSolver, DenseInverse
from optlayers.implicit.policy import OnFailure
from optlayers.implicit.report import LinearInfo
from optlayers.implicit.settings import Plan, Semantics, Settings, plan
from optlayers.implicit.shown import shown
from optlayers.implicit.signatures import refusing_signature
from optlayers.implicit.solve import solve
from optlayers.implicit.solvers import AbstractIteration
from optlayers.implicit.spectral_radius import spectral_radius

Form = Callable[[Framework, UserFunction, Layout, Rebuild], Equation]


@final
@dataclass(frozen=True, eq=False)
class ImplicitFunction:
    """z as a function of theta, where

        root:         F(z, theta) = 0
        fixed_point:  z = g(z, theta)
        argmin:       the gradient of phi(z, theta) by z is 0

    Called with the function of z and theta, an initial point z0, theta, and choices, all of which have defaults.
    z0 and theta are trees of arrays (dicts, tuples, modules' parameters); the solution is a tree like z0. z does not
    depend on z0, so that the derivative by it is zero; where there are several solutions, z0 chooses one.

    batch_axes: how many of the first axes of each array of z0 are batch axes. The function must treat the elements of
        the batch independently; each is iterated until it has converged. phi returns a number for each element.
    solver: an iteration (Newton, Broyden, FixedPointIteration, Anderson, GradientDescent, LBFGS, Bisection), or any
        callable (F, z0) -> z on arrays (*B, n).
    backward: the solver of the linear systems of derivatives (LU, GMRES, BiCGStab, ConjugateGradients,
        NormalConjugateGradients, LSMR, Neumann), or an iteration, applied to the adjoint equation.
    differentiate: what is differentiated, in forward and in reverse mode.
        "implicit": the equation, at z: J_z dz = -J_theta dtheta. Memory: z, z0 and theta. Any number of times.
        "unrolled": the iterations that ran. Memory grows with their number.
        "one_step": one iteration, begun anew at z (Bolte, Pauwels, Vaiter 2023).
    last, checkpoint: with "unrolled", how many of the last iterations are differentiated (all, if None), and whether
        their intermediate values are computed again rather than kept.
    on_failure: "raise", "warn" or "nan", for elements of the batch that were not solved, and for derivatives whose
        linear systems were not. A failed element's derivatives are those at the point that was reached.
    monitor: called with the `LinearInfo` of each solved system of derivatives, as NumPy arrays.
    return_info: return (z, info), `Info` with status, residual, iterations and contraction of each element.

    Raises `ArgumentError` for arguments that do not fit, `OptionError` for choices that do not, `ConvergenceError` and
    `DerivativeError` as `on_failure` says, and `CaptureError` where the function takes from outside a value that needs
    a derivative.

    Source: the implicit function theorem, as in Blondel et al. (2022), Efficient and modular implicit differentiation.
    """

    framework: Framework
    form: Form
    name: str

    def __call__(
        self,
        function: UserFunction,
        z0: Any,
        theta: Any = (),
        *,
        batch_axes: int = 0,
        solver: AbstractIteration | Callable[..., Any] | None = None,
        backward: AbstractLinearSolver | AbstractIteration | None = None,
        differentiate: Semantics | str = Semantics.IMPLICIT,
        last: int | None = None,
        checkpoint: bool = False,
        on_failure: OnFailure | str = OnFailure.RAISE,
        monitor: Callable[[LinearInfo], None] | None = None,
        return_info: bool = False,
    ) -> Any:
        check_flag(self.name, "return_info", return_info)

        def solution(z0: Any, theta: Any) -> Any:
            settings = Settings(
                solver=solver,
                backward=backward,
                differentiate=differentiate,
                last=last,
                checkpoint=checkpoint,
                on_failure=on_failure,
                monitor=monitor,
            )
            layout, problem, z, chosen = self.prepare(function, z0, theta, batch_axes, settings)
            chosen.warn_of_mismatch()
            found, info = solve(problem, z, chosen)
            return (layout.unravel(found), info) if return_info else layout.unravel(found)

        return self.framework.enter(solution, z0, theta)

    def explain(self, function: UserFunction, z0: Any, theta: Any = (), *, batch_axes: int = 0, **settings: Any) -> str:
        """What such a call does: the equation, the solvers, their tolerances, what is differentiated."""
        choices = settings_of(self.name, settings)

        def explanation(z0: Any, theta: Any) -> str:
            layout, problem, _, chosen = self.prepare(function, z0, theta, batch_axes, choices)
            return explain(problem.equation, layout, chosen)

        text: str = self.framework.enter(explanation, z0, theta)
        return text

    def jacobian(self, function: UserFunction, z: Any, theta: Any = (), *, batch_axes: int = 0) -> Array:
        """J_z (*B, n, n) at z and theta, formed by n products, without derivatives of its own."""

        def matrix(z: Any, theta: Any) -> Array:
            _, problem, point, _ = self.prepare(function, z, theta, batch_axes, Settings())
            return self.framework.constant(problem.constant().derivative(point).matrix())

        return self.framework.enter(matrix, z, theta)

    def neighbour(self, function: UserFunction, z: Any, theta: Any = (), *, batch_axes: int = 0) -> DenseInverse:
        """The inverse of J_z at z and theta, as a preconditioner of systems at points nearby."""
        return DenseInverse.of(self.framework.xp, self.jacobian(function, z, theta, batch_axes=batch_axes))

    def spectral_radius(
        self, function: UserFunction, z: Any, theta: Any = (), *, batch_axes: int = 0, iterations: int = 100
    ) -> Array:
        """(*B) the estimated spectral radius of I - J_z at z and theta, of the derivative of g for a fixed point: see
        `optlayers.implicit.spectral_radius`."""

        def radius(z: Any, theta: Any) -> Array:
            _, problem, point, _ = self.prepare(function, z, theta, batch_axes, Settings())
            return spectral_radius(problem, point, iterations)

        return self.framework.enter(radius, z, theta)

    def check(self, batch_axes: int, settings: Mapping[str, Any]) -> None:
        """Raise `ArgumentError` or `OptionError` for choices that are wrong whatever the function, z0 and theta are."""
        check_batch_axes(batch_axes)
        layout = Layout(self.framework, (), ((1,),), lambda leaves: leaves[0], None)
        equation = self.form(self.framework, lambda z, theta: z, layout, lambda leaves: ())
        plan(settings_of(self.name, settings), equation, layout.size, SOME_PRECISION)

    def prepare(
        self, function: UserFunction, z0: Any, theta: Any, batch_axes: int, settings: Settings
    ) -> tuple[Layout, Problem, Array, Plan]:
        """How z0 lies in one array, the equation, that array, and the complete settings."""
        self._check_function(function)
        check_settings(self.name, settings)
        settings = replace(settings, solver=self._constant(settings.solver), backward=self._constant(settings.backward))
        layout = Layout.of(self.framework, z0, batch_axes)
        leaves, rebuild = self.framework.flatten(theta)
        equation = self.form(self.framework, function, layout, rebuild)
        initial = self.framework.constant(layout.ravel(z0, "z0"))
        problem, z = self.framework.enclose(Problem(self.framework, equation, tuple(leaves)), initial)
        eps = float(self.framework.xp.finfo(z.dtype).eps)
        return layout, problem, z, plan(settings, equation, layout.size, eps)

    def _constant(self, choice: Any) -> Any:
        """A solver, whose arrays have no derivatives: they say how z is found, not what it is."""
        is_solver = isinstance(choice, AbstractIteration | AbstractLinearSolver)
        return choice.mapped(self.framework.constant) if is_solver else choice

    def _check_function(self, function: Any) -> None:
        if not callable(function):
            raise ArgumentError(f"{self.name} takes a function of z and theta first, not {shown(function)}.")
        signature = refusing_signature(function, 2)
        if signature is not None:
            raise ArgumentError(
                f"{self.name} calls its function with two arguments, z and theta, but {shown(function)} takes "
                f"{signature}. Several parameters are one tree, theta=(a, b); where no theta is given, it is ()."
            )


SOME_PRECISION = 2.0**-52
"""That of double precision, where none is known yet."""
