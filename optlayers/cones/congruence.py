"""A derivative that acts on symmetric matrices by a congruence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float

from optlayers.arrays import Arrays
from optlayers.cones.derivative import AbstractRotation
from optlayers.cones.triangle import to_matrix, to_vector


@final
@dataclass(frozen=True, slots=True)
class Congruence(AbstractRotation):
    """D[H] = U (E o (U'H U)) U' on symmetric H, written by svec: Q svec(M) = svec(U M U'), `eigenvalues` the entries of
    E in svec's order (without its scaling). U is orthogonal, hence so is Q; Q itself is never formed."""

    U: Float[Any, "*B order order"]
    eigenvalues: Float[Any, "*B size"]

    def complement(self, xp: Arrays) -> Congruence:
        return Congruence(self.U, 1 - self.eigenvalues)

    def rotate(self, xp: Arrays, M: Float[Any, "*B size k"]) -> Float[Any, "*B size k"]:
        return _congruence(xp, xp.swapaxes(self.U, -1, -2), M)

    def rotate_back(self, xp: Arrays, M: Float[Any, "*B size k"]) -> Float[Any, "*B size k"]:
        return _congruence(xp, self.U, M)


def _congruence(xp: Arrays, U: Float[Any, "*B order order"], M: Float[Any, "*B size k"]) -> Float[Any, "*B size k"]:
    """svec(U X U') for each column svec X of M."""
    U = U[..., None, :, :]
    X = to_matrix(xp, xp.swapaxes(M, -1, -2), U.shape[-1])
    return xp.swapaxes(to_vector(xp, U @ X @ xp.swapaxes(U, -1, -2)), -1, -2)
