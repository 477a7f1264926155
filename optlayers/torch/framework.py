"""PyTorch, as the implicit layers need it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
import torch.utils.checkpoint
from torch.utils import _pytree as pytree

from optlayers.errors import ArgumentError, OptionError
from optlayers.implicit import (
    AbstractIteration,
    AbstractLinearSolver,
    Info,
    Policy,
    Problem,
    Rule,
)
from optlayers.torch import implicit_primitives, products
from optlayers.torch.captures import check_captures
from optlayers.torch.precision import full_precision, is_autocast, is_narrow, widened
from optlayers.torch.wrapped import is_mapped, is_transformed, numbers, uncompiled

Function = Callable[[Any], Any]


@final
class TorchFramework:
    """`optlayers.implicit.Framework` for PyTorch."""

    @property
    def xp(self) -> Any:
        return torch

    def linearize(self, f: Function, z: torch.Tensor) -> tuple[torch.Tensor, Function]:
        return products.linearize(f, z)

    def vjp(self, f: Function, z: torch.Tensor) -> tuple[torch.Tensor, Function]:
        value, pullback = products.vjp(f, z)
        return value, lambda u: pullback(u)[0]

    def transpose(self, linear: Function, like: torch.Tensor) -> Function:
        return self.vjp(linear, torch.zeros_like(like))[1]

    def map(self, f: Function) -> Function:
        mapped: Function = torch.func.vmap(f)
        return mapped

    def eye(self, n: int, like: torch.Tensor) -> torch.Tensor:
        return torch.eye(n, dtype=like.dtype, device=like.device)

    def while_loop(self, going: Function, body: Function, state: Any) -> Any:
        # Under vmap it goes on while any element needs it; those that have stopped stand still.
        while numbers(going(state)).any():
            state = body(state)
        return state

    def unrolled_loop(self, going: Function, body: Function, state: Any, limit: int, checkpoint: bool) -> Any:
        if checkpoint and is_transformed():
            raise OptionError(
                "checkpoint=True does not work inside torch.func's transformations (a limit of PyTorch's)."
            )
        rounds = 0
        while rounds < limit and numbers(going(state)).any():
            state = torch.utils.checkpoint.checkpoint(body, state, use_reentrant=False) if checkpoint else body(state)
            rounds += 1
        return state

    def constant(self, tree: Any) -> Any:
        return pytree.tree_map(lambda leaf: leaf.detach() if isinstance(leaf, torch.Tensor) else leaf, tree)

    def factor(self, matrix: torch.Tensor) -> Callable[[torch.Tensor, bool], torch.Tensor]:
        factors, pivots, _ = torch.linalg.lu_factor_ex(matrix)

        def solve(columns: torch.Tensor, transpose: bool) -> torch.Tensor:
            result: torch.Tensor = torch.linalg.lu_solve(factors, pivots, columns, adjoint=transpose)
            return result

        return solve

    def flatten(self, tree: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
        leaves, structure = pytree.tree_flatten(tree)
        return leaves, lambda leaves: pytree.tree_unflatten(list(leaves), structure)

    def structure(self, tree: Any) -> Any:
        return pytree.tree_structure(tree)

    def is_array(self, leaf: Any) -> bool:
        return isinstance(leaf, torch.Tensor)

    @uncompiled
    def enter(self, compute: Callable[[Any, Any], Any], z0: Any, theta: Any) -> Any:
        leaves = pytree.tree_leaves(z0)
        for leaf in leaves:
            check_initial(leaf)
        device = leaves[0].device if leaves else torch.device("cpu")
        if any(isinstance(leaf, torch.Tensor) and leaf.is_meta for leaf in (*leaves, *pytree.tree_leaves(theta))):
            raise ArgumentError("z0 or theta is on the meta device: an equation cannot be solved without numbers.")
        if is_autocast(device):
            z0, theta = pytree.tree_map(widened, (z0, theta))
        with full_precision(device):
            return compute(z0, theta)

    def enclose(self, problem: Problem, z: torch.Tensor) -> tuple[Problem, torch.Tensor]:
        dtype = check_captures(problem, z).dtype
        if not dtype.is_floating_point or is_narrow(dtype):
            raise ArgumentError(
                f"the function given to {problem.equation.kind} has values of {dtype}, in which no equation "
                "is solved: convert z0 and theta with .float() or .double(). In torch.autocast that is done for you."
            )
        return problem, z.to(dtype)

    def judge(self, value: torch.Tensor, info: Any, policy: Policy) -> torch.Tensor:
        return implicit_primitives.judge(value, info, policy)

    def solve(
        self, problem: Problem, z: torch.Tensor, solver: AbstractIteration, rule: Rule
    ) -> tuple[torch.Tensor, Info]:
        for each in (solver, rule.backward):
            each.mapped(_unmapped)
        found, info = implicit_primitives.solve(problem, z, solver, rule)
        # A function that branches on z may take from outside at the solution what it did not take at z0.
        check_captures(problem, found)
        return found, info

    def linear_solve(
        self, problem: Problem, z: torch.Tensor, rhs: torch.Tensor, method: AbstractLinearSolver
    ) -> torch.Tensor:
        return implicit_primitives.step(problem, z, rhs, method)


def _unmapped(array: Any) -> Any:
    """The array. Raises `OptionError` where `vmap` maps it, which does not reach into solvers."""
    if isinstance(array, torch.Tensor) and is_mapped(array):
        raise OptionError(
            "an array of a solver (Bisection's low= or high=, or a preconditioner) is mapped by vmap, which "
            "does not reach into solvers: give z0 batch axes (batch_axes=), and the solver arrays that have them."
        )
    return array


def check_initial(leaf: Any) -> None:
    """Raise `ArgumentError` unless an array of z0 is a dense tensor of real floating-point numbers."""
    if not isinstance(leaf, torch.Tensor):
        raise ArgumentError(
            f"z0 must be a torch.Tensor, or a tree of them, not {type(leaf).__name__}; convert it with torch.as_tensor."
        )
    if not leaf.is_floating_point():
        raise ArgumentError(
            f"z0 has dtype {leaf.dtype}; a real floating-point dtype is expected. "
            "Convert it with .double() or .float()."
        )
    if leaf.layout != torch.strided:
        raise ArgumentError(f"z0 must be a dense tensor; its layout is {leaf.layout}. Convert it with .to_dense().")


TORCH = TorchFramework()
