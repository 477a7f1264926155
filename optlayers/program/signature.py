"""What goes into a layer and what comes out: names, shapes, and their place in one flat vector."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float

from optlayers.arrays import Arrays, broadcast_shape
from optlayers.errors import ArgumentError
from optlayers.program.parameter import Parameter


@final
@dataclass(frozen=True, slots=True)
class Output:
    """A variable or dual variable that a layer returns; an `exponential` one is the exponential of what is recovered,
    as the variables of geometric programs are."""

    name: str
    shape: tuple[int, ...]
    exponential: bool = False

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)


@final
@dataclass(frozen=True, eq=False)
class Signature:
    """theta (*B, p) holds the parameters one after the other, each flattened by rows; so do the outputs (*B, k).

    Logarithmic parameters are held by their logarithms, exponential outputs as well.
    """

    parameters: tuple[Parameter, ...]
    outputs: tuple[Output, ...]

    @property
    def p(self) -> int:
        """The length of theta."""
        return sum(parameter.size for parameter in self.parameters)

    @property
    def k(self) -> int:
        """The length of the flat output."""
        return sum(output.size for output in self.outputs)

    def __str__(self) -> str:
        """Names and shapes, as "A (4, 3), b (4,) -> x (3,)"."""
        sides = (", ".join(f"{each.name} {each.shape}" for each in side) for side in (self.parameters, self.outputs))
        return " -> ".join(sides)

    def order(self, positional: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """The arguments of a call in the order of `parameters`; `ArgumentError` if one lacks or is given twice."""
        names = [parameter.name for parameter in self.parameters]
        if len(positional) > len(names):
            raise ArgumentError(
                f"{len(positional)} arguments were given for {len(names)} parameters: {', '.join(names) or 'none'}."
            )
        given: dict[str, Any] = dict(zip(names, positional, strict=False))
        for name, value in named.items():
            if name not in names:
                raise ArgumentError(f"there is no parameter '{name}'; the parameters are {', '.join(names) or 'none'}.")
            if names.count(name) > 1:
                raise ArgumentError(f"several parameters are called '{name}': pass them by position.")
            if name in given:
                raise ArgumentError(f"parameter '{name}' was given twice, by position and by name.")
            given[name] = value
        if len(positional) + len(named) < len(names):
            missing = [name for name in names[len(positional) :] if name not in named]
            raise ArgumentError(
                f"{len(names)} parameters are expected ({', '.join(names)}); missing: {', '.join(missing)}."
            )
        return (*positional, *(named[name] for name in names[len(positional) :]))

    def batch_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """B, the leading axes of all arguments broadcast; `ArgumentError` names the parameter that does not fit."""
        batch: tuple[int, ...] = ()
        for parameter, shape in zip(self.parameters, shapes, strict=True):
            lead = len(shape) - len(parameter.shape)
            if lead < 0 or tuple(shape[lead:]) != parameter.shape:
                batched = "".join(f", {size}" for size in parameter.shape)
                raise ArgumentError(
                    f"parameter '{parameter.name}' has shape {parameter.shape}, so {parameter.shape} or, with batch "
                    f"axes in front, (...{batched}) was expected; the argument has shape {tuple(shape)}."
                )
            joint = broadcast_shape(batch, tuple(shape[:lead]))
            if joint is None:
                raise ArgumentError(
                    f"the batch axes {tuple(shape[:lead])} of parameter '{parameter.name}' do not broadcast "
                    f"with the batch axes {batch} of the parameters before it."
                )
            batch = joint
        return batch

    def pack(self, xp: Arrays, arguments: Sequence[Any]) -> Float[Any, "*B p"]:
        """theta (*B, p) of the arguments, broadcast and flattened; logarithms of what is not positive are NaN or
        infinite, which `check_values` reports."""
        entries = [
            xp.log(argument) if parameter.logarithmic else argument
            for parameter, argument in zip(self.parameters, arguments, strict=True)
        ]
        return self.flatten(xp, entries)

    def flatten(self, xp: Arrays, arguments: Sequence[Any]) -> Float[Any, "*B p"]:
        """Arrays of the parameters' shapes, broadcast, flattened and side by side."""
        batch = self.batch_shape([tuple(argument.shape) for argument in arguments])
        flat = [
            xp.reshape(xp.broadcast_to(argument, (*batch, *parameter.shape)), (*batch, parameter.size))
            for parameter, argument in zip(self.parameters, arguments, strict=True)
        ]
        return xp.concat(flat, axis=-1) if flat else xp.zeros((0,))

    def unpack(self, xp: Arrays, flat: Float[Any, "*B k"]) -> tuple[Any, ...]:
        """The outputs (*B, *shape) of the flat output."""
        parts = zip(self.outputs, self.split(xp, flat), strict=True)
        return tuple(xp.exp(part) if output.exponential else part for output, part in parts)

    def split(self, xp: Arrays, flat: Float[Any, "*B k"]) -> tuple[Any, ...]:
        """Arrays (*B, *shape) of the outputs' shapes from the flat vector."""
        batch = tuple(flat.shape[:-1])
        result: list[Any] = []
        start = 0
        for output in self.outputs:
            result.append(xp.reshape(flat[..., start : start + output.size], (*batch, *output.shape)))
            start += output.size
        return tuple(result)

    def parameter_slopes(self, theta: Float[np.ndarray, "*B p"]) -> Float[np.ndarray, "*B p"]:
        """The derivative of each entry of theta by its argument: 1 / value where theta holds the logarithm."""
        logarithmic = np.repeat(
            [parameter.logarithmic for parameter in self.parameters], [parameter.size for parameter in self.parameters]
        )
        return np.exp(np.where(logarithmic.astype(np.bool_), -theta, 0.0))

    def output_slopes(self, outputs: Sequence[Float[np.ndarray, "..."]]) -> tuple[Float[np.ndarray, "..."], ...]:
        """The derivative of each output by what is recovered: the output itself where it is an exponential."""
        parts = zip(self.outputs, outputs, strict=True)
        return tuple(value if output.exponential else np.ones_like(value) for output, value in parts)

    def check_values(self, theta: Float[np.ndarray, "*B p"]) -> list[str]:
        """Raise `ArgumentError` for the first parameter with a value that breaks its rules; what is to be warned of."""
        batch, doubts = theta.shape[:-1], []
        start = 0
        for parameter in self.parameters:
            part = theta[..., start : start + parameter.size]
            doubts += parameter.check(part.reshape((int(np.prod(batch)), *parameter.shape)), batch)
            start += parameter.size
        return doubts
