"""How the leading axes of vectors meet those of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float


@final
@dataclass(frozen=True, slots=True)
class BatchAxes:
    """The leading axes `lead`, to which those of a batch and of vectors broadcast.

    Its axes are of two kinds: those of the batch, along which elements differ, and those that the batch lacks or has
    with length one, along which several vectors meet each element.
    """

    batch: tuple[int, ...]
    lead: tuple[int, ...]

    @classmethod
    def of(cls, batch: Float[np.ndarray, "..."], *vectors: Float[np.ndarray, "..."]) -> BatchAxes:
        """The axes of a batch of elements and the vectors that meet them."""
        lead = np.broadcast_shapes(batch.shape[:-1], *(vector.shape[:-1] for vector in vectors))
        return cls(batch.shape[:-1], lead)

    def group(self, vectors: Float[np.ndarray, "*C size"]) -> Float[np.ndarray, "elements *each size"]:
        """For each element of the flattened batch, the vectors that meet it; those repeated along an axis only once."""
        kept, repeated = self._split()
        own = (*(1,) * (len(self.lead) - vectors.ndim + 1), *vectors.shape[:-1])
        lead = [self.lead[axis] if axis in kept else own[axis] for axis in range(len(self.lead))]
        moved = np.broadcast_to(vectors.reshape(*own, vectors.shape[-1]), (*lead, vectors.shape[-1])).transpose(
            [*kept, *repeated, len(lead)]
        )
        elements = int(np.prod([lead[axis] for axis in kept], dtype=np.int64))
        return moved.reshape(elements, *(lead[axis] for axis in repeated), vectors.shape[-1])

    def ungroup(self, values: Float[np.ndarray, "elements *each size"]) -> Float[np.ndarray, "*lead size"]:
        """The inverse of `group`, for what is not repeated."""
        kept, repeated = self._split()
        order = [*kept, *repeated]
        moved = values.reshape(*(self.lead[axis] for axis in order), values.shape[-1])
        return moved.transpose([*np.argsort(np.array(order, dtype=np.int64)), len(self.lead)])

    def _split(self) -> tuple[list[int], list[int]]:
        extra = len(self.lead) - len(self.batch)
        repeated = [
            axis for axis in range(len(self.lead)) if axis < extra or self.lead[axis] != self.batch[axis - extra]
        ]
        return [axis for axis in range(len(self.lead)) if axis not in repeated], repeated


def index_of(place: int, batch: tuple[int, ...]) -> tuple[int, ...]:
    """The index in a batch of a place in the flattened one."""
    return tuple(int(i) for i in np.unravel_index(place, batch)) if batch else ()
