"""Implicit layers as modules."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch.utils import _pytree as pytree

from optlayers.errors import ArgumentError
from optlayers.implicit import ImplicitFunction, Info, OnFailure, Semantics, Settings
from optlayers.implicit.cells import check_cell, check_inputs
from optlayers.implicit.shown import shown
from optlayers.torch import implicit_operators
from optlayers.torch.implicit import fixed_point
from optlayers.torch.implicit_primitives import cotangents
from optlayers.torch.precision import is_autocast, widened


class AbstractImplicitLayer(torch.nn.Module, abc.ABC):
    """z as a function of a cell's parameters and of inputs, both of which are differentiated.

    The cell must be a deterministic function of z and the inputs that changes nothing: with dropout, or batch
    normalization in training mode, there is no solution. Buffers are copied; a cell that writes to them is refused, and
    attributes that it sets are lost.

    cell: a function of z and the inputs; where it is a module, the layer has its parameters.
    batch_axes: how many of the first axes of z are batch axes, of elements that the cell treats independently.
    settings: those of `root`, `fixed_point` and `argmin`.
    """

    def __init__(
        self, implicit: ImplicitFunction, cell: Callable[..., Any], batch_axes: int, settings: dict[str, Any]
    ) -> None:
        if not isinstance(implicit, ImplicitFunction) or implicit.framework is not fixed_point.framework:
            raise ArgumentError(
                f"ImplicitLayer takes root, fixed_point or argmin of optlayers.torch first, and then the cell, not "
                f"{shown(implicit)}."
            )
        check_cell(cell)
        implicit.check(batch_axes, settings)
        super().__init__()
        self.implicit = implicit
        self.cell = cell
        self.batch_axes = batch_axes
        self.settings = settings
        self._handle = implicit_operators.LAYERS.of(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The handle is good for one layer in one process only."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._handle = implicit_operators.LAYERS.of(self)

    def forward(self, *inputs: Any, z0: Any = None) -> Any:
        """The solution, from z0; from zeros like the first input, if None. With its info if `return_info` was given."""
        z0, theta = self._start(inputs, z0), self._theta(inputs)
        if torch.compiler.is_compiling():
            device = pytree.tree_leaves(z0)[0].device
            if is_autocast(device):
                z0, theta = pytree.tree_map(widened, (z0, theta))
            z, info = implicit_operators.solve(self._handle, z0, theta)
        else:
            z, info = self.solve(z0, theta)
        return (z, info) if self.settings.get("return_info", False) else z

    def explain(self, *inputs: Any, z0: Any = None) -> str:
        """What a call does: the equation, the solvers, their tolerances, what is differentiated."""
        check_inputs(self.cell, inputs)
        z0, theta = self._start(inputs, z0), _with_copied_buffers(self._theta(inputs))
        return self.implicit.explain(self._function, z0, theta, batch_axes=self.batch_axes, **self._choices())

    def extra_repr(self) -> str:
        """The equation, and the settings that were given."""
        given = "".join(f", {name}={value}" for name, value in self.settings.items())
        return f"{self.implicit.name}, batch_axes={self.batch_axes}{given}"

    def solve(self, z0: Any, theta: Any) -> tuple[Any, Info]:
        """z and how it was found, from z0, at (parameters, buffers, inputs)."""
        check_inputs(self.cell, theta[-1])
        z, info = self.implicit(
            self._function,
            z0,
            _with_copied_buffers(theta),
            batch_axes=self.batch_axes,
            **self._choices(),
            return_info=True,
        )
        return z, info

    def cotangents(self, z0: Any, z: Any, g: Any, theta: Any, wanted: Sequence[bool]) -> Sequence[torch.Tensor]:
        """Those of the tensors of theta that are wanted, given z, found from z0, and its own."""
        theta = pytree.tree_map(lambda leaf: leaf.detach() if isinstance(leaf, torch.Tensor) else leaf, theta)
        leaves, structure = pytree.tree_flatten(theta)
        every = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        places = [place for place, want in zip(every, wanted, strict=True) if want]
        if Semantics(self.settings.get("differentiate", Semantics.IMPLICIT)) is not Semantics.UNROLLED:
            layout, problem, found, plan = self.implicit.prepare(
                self._function, z, _with_copied_buffers(theta), self.batch_axes, Settings(**self._choices())
            )
            return cotangents(problem, plan.rule, found, layout.ravel(g, "g"), places)
        for place in places:
            leaves[place] = leaves[place].requires_grad_()
        with torch.enable_grad():
            # Its failures were spoken of when the solution was found.
            again, _ = self.implicit(
                self._function,
                z0,
                _with_copied_buffers(pytree.tree_unflatten(leaves, structure)),
                batch_axes=self.batch_axes,
                **{**self._choices(), "on_failure": OnFailure.NAN},
                return_info=True,
            )
        return torch.autograd.grad(
            pytree.tree_leaves(again),
            [leaves[place] for place in places],
            pytree.tree_leaves(g),
            materialize_grads=True,
        )

    def _choices(self) -> dict[str, Any]:
        return {name: value for name, value in self.settings.items() if name != "return_info"}

    def _start(self, inputs: tuple[Any, ...], z0: Any) -> Any:
        if z0 is not None:
            return z0
        if not inputs or not isinstance(inputs[0], torch.Tensor):
            raise ArgumentError("z0 is missing: it is zeros like the first input only where that is a tensor.")
        return torch.zeros_like(inputs[0])

    def _theta(self, inputs: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, Any], tuple[Any, ...]]:
        if not isinstance(self.cell, torch.nn.Module):
            return {}, {}, inputs
        return dict(self.cell.named_parameters()), dict(self.cell.named_buffers()), inputs

    def _function(self, z: Any, theta: Any) -> Any:
        parameters, buffers, inputs = theta
        if not isinstance(self.cell, torch.nn.Module):
            return self.cell(z, *inputs)
        before = _versions(buffers)
        value = torch.func.functional_call(_stand_in(self.cell, {}), {**parameters, **buffers}, (z, *inputs))
        changed = [name for name, version in _versions(buffers).items() if before[name] != version]
        if changed:
            raise ArgumentError(
                f"the cell changes its buffer '{changed[0]}', as batch normalization does in training mode: it would "
                "do so at every iteration, and there is no solution. Call cell.eval(), or take a cell without such "
                "buffers (LayerNorm, GroupNorm)."
            )
        return value


@final
class ImplicitLayer(AbstractImplicitLayer):
    """z with cell(z, *inputs) = 0, z = cell(z, *inputs), or the gradient of cell(z, *inputs) by z zero: as
    `ImplicitLayer(root, cell)`, `ImplicitLayer(fixed_point, cell)`, `ImplicitLayer(argmin, cell)`."""

    def __init__(
        self, implicit: ImplicitFunction, cell: Callable[..., Any], *, batch_axes: int = 1, **settings: Any
    ) -> None:
        super().__init__(implicit, cell, batch_axes, settings)


@final
class FixedPointLayer(AbstractImplicitLayer):
    """z with z = cell(z, *inputs), a deep equilibrium layer (Bai, Kolter, Koltun 2019)."""

    def __init__(self, cell: Callable[..., Any], *, batch_axes: int = 1, **settings: Any) -> None:
        super().__init__(fixed_point, cell, batch_axes, settings)


def _stand_in(module: torch.nn.Module, made: dict[int, torch.nn.Module]) -> torch.nn.Module:
    """The module and its own, of the same tensors: `torch.func.functional_call` puts others in their place while it
    runs, which other threads must not see."""
    if id(module) not in made:
        double = made[id(module)] = module.__class__.__new__(module.__class__)
        double.__dict__ = dict(vars(module))
        for name in ("_parameters", "_buffers"):
            double.__dict__[name] = dict(vars(module)[name])
        double.__dict__["_modules"] = {
            name: child if child is None else _stand_in(child, made) for name, child in vars(module)["_modules"].items()
        }
    return made[id(module)]


def _versions(buffers: dict[str, torch.Tensor]) -> dict[str, int]:
    return {name: buffer._version for name, buffer in buffers.items()}  # noqa: SLF001  (nothing public counts writes)


def _with_copied_buffers(theta: Any) -> Any:
    parameters, buffers, inputs = theta
    with torch.inference_mode(False):  # copies that know whether they were changed
        return parameters, {name: buffer.clone() for name, buffer in buffers.items()}, inputs
