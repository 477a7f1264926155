"""What the iterations and the implicit rule ask of a framework: its arrays, and transformations of functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from optlayers.implicit.equation import Problem
    from optlayers.implicit.linear.abstract import AbstractLinearSolver
    from optlayers.implicit.policy import Policy
    from optlayers.implicit.report import Info
    from optlayers.implicit.rule import Rule
    from optlayers.implicit.solvers.abstract import AbstractIteration

Array: TypeAlias = Any
"""An array of the framework, or a tracer of one."""

Function: TypeAlias = Callable[[Any], Any]


@runtime_checkable
class Framework(Protocol):
    """One framework; `xp` is its array namespace, with the names that NumPy, jax.numpy and torch share.

    The transformations act on functions of one array.
    """

    @property
    def xp(self) -> Any:
        """The array namespace."""

    def linearize(self, f: Function, z: Array) -> tuple[Array, Function]:
        """f(z), and d -> f'(z) d."""

    def vjp(self, f: Function, z: Array) -> tuple[Array, Function]:
        """f(z), and u -> f'(z)' u."""

    def transpose(self, linear: Function, like: Array) -> Function:
        """The transpose of a linear function of arrays like `like`."""

    def map(self, f: Function) -> Function:
        """f along a new first axis."""

    def eye(self, n: int, like: Array) -> Array:
        """The identity (n, n), of the dtype and on the device of `like`."""

    def while_loop(self, going: Function, body: Function, state: Any) -> Any:
        """`body` of `body` of ... `state`, while any of the flags `going(state)` is set."""

    def unrolled_loop(self, going: Function, body: Function, state: Any, limit: int, checkpoint: bool) -> Any:
        """`while_loop` of at most `limit` rounds, differentiable; `checkpoint`: a round's intermediate values are
        computed again rather than kept."""

    def constant(self, tree: Any) -> Any:
        """The tree's arrays, without derivatives."""

    def factor(self, matrix: Array) -> Callable[[Array, bool], Array]:
        """LU of matrices (*B, n, n): (columns (*B, n, k), transpose) -> A^-1 columns, or A^-T columns."""

    def flatten(self, tree: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
        """The leaves of a tree, and what makes such a tree of leaves."""

    def structure(self, tree: Any) -> Any:
        """What two trees have in common if they differ in their leaves only; to be compared, and shown."""

    def is_array(self, leaf: Any) -> bool:
        """Whether it is an array of the framework, with or without derivatives."""

    def enter(self, compute: Callable[[Any, Any], Any], z0: Any, theta: Any) -> Any:
        """compute(z0, theta), as a call of a layer begins: arguments that the framework cannot take are refused."""

    def enclose(self, problem: Problem, z: Array) -> tuple[Problem, Array]:
        """The problem, and z in the dtype of its residual.

        Its functions depend on nothing but z and theta that needs a derivative; raises `CaptureError` where they do,
        now or when the derivative is asked for.
        """

    def judge(self, value: Array, info: Any, policy: Policy) -> Array:
        """The value, after the policy has been applied to how it was found."""

    def solve(self, problem: Problem, z: Array, solver: AbstractIteration, rule: Rule) -> tuple[Array, Info]:
        """The solution from z, differentiable in theta by the implicit rule."""

    def linear_solve(self, problem: Problem, z: Array, rhs: Array, method: AbstractLinearSolver) -> Array:
        """u with J_z(z, theta) u = rhs, differentiable in z, theta and rhs, any number of times.

        The caller judges how it was found; the problem's policy, the systems of derivatives in reverse mode.
        """
