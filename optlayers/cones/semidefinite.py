"""The cone of positive semidefinite matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from jaxtyping import Bool, Float

from optlayers.arrays import Arrays
from optlayers.cones.abstract import AbstractCone, Resolution, Smoothed
from optlayers.cones.congruence import Congruence
from optlayers.cones.spectral import (
    PositivePart,
    divided_difference,
    is_zero,
    positive_part,
    smoothed_positive_part,
)
from optlayers.cones.triangle import to_matrix, to_vector, triangle_size, upper_triangle


@final
@dataclass(frozen=True, slots=True)
class Semidefinite(AbstractCone):
    """K = {svec X : X symmetric of the given order, positive semidefinite}; self-dual, so Pi_{K*} = Pi_K.

    svec's order and scaling are those of `cones.triangle`. With v = svec(U diag(l) U') and f(l) = max(l, 0),

        Pi(v) = svec(U diag(f(l)) U'),   D[H] = U (E o (U'H U)) U',   E_ij = f[l_i, l_j],

    where the divided difference E_ij is 1 if both eigenvalues are positive, 0 if neither is, and l_+ / (l_+ - l_-)
    otherwise (Sun and Sun, 2002).

    Pi is not differentiable where an eigenvalue is zero. There it is taken to be not positive. Rounding leaves
    1e-16 |v| of an eigenvalue that is zero, so that only a resolution makes this choice certain.

    The barrier is f(X) = -log det X, whose smoothing acts on the eigenvalues as on the orthant's rows.
    """

    order: int

    separable: ClassVar[bool] = False

    @property
    def size(self) -> int:
        return triangle_size(self.order)

    def project_dual(self, xp: Arrays, v: Float[Any, "*B size"]) -> Float[Any, "*B size"]:
        values, U = self._eigen(xp, v)
        inside = values[..., :1] >= 0
        return xp.where(inside, v, _compose(xp, U, positive_part(xp, values, None).value))

    def derivative(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution | None = None) -> Congruence:
        values, U = self._eigen(xp, v)
        return self._congruence(xp, U, positive_part(xp, values, zero))

    def kinks(self, xp: Arrays, v: Float[Any, "*B size"], zero: Resolution) -> Bool[Any, "*B kinks"]:
        """One for each eigenvalue, in ascending order."""
        return is_zero(self._eigen(xp, v)[0], zero)

    def second_derivative(
        self, xp: Arrays, v: Float[Any, "*B size"], a: Float[Any, "*B size"], c: Float[Any, "*B size"]
    ) -> Float[Any, "*B size"]:
        """U (G + G') U' with G_kj = sum_i C_ki A_ij f[l_i, l_j, l_k], A and C the matrices of a and c turned by U.

        This is the second derivative of a matrix function (Daleckii and Krein, 1951). The second divided difference of
        max(l, 0) vanishes unless one of its arguments, l_o, has a sign of its own; then it is |l_o| W_op W_oq, where p
        and q are the two others and W_ij = 1/|l_i - l_j| for opposite signs, else 0. Hence

            f[l_i, l_j, l_k] = |l_i| W_ij W_ik + |l_j| W_ji W_jk + |l_k| W_ki W_kj

        without cancellation, also for equal eigenvalues, and each term of it makes G a product of matrices.
        """
        values, U = self._eigen(xp, v)
        U_transposed = xp.swapaxes(U, -1, -2)
        A, C = (U_transposed @ to_matrix(xp, part, self.order) @ U for part in (a, c))
        positive = values > 0
        opposite = positive[..., :, None] != positive[..., None, :]
        gap = xp.abs(values[..., :, None] - values[..., None, :])
        W = xp.where(opposite, 1 / xp.where(opposite, gap, xp.ones_like(gap)), xp.zeros_like(gap))
        column, row = xp.abs(values)[..., :, None], xp.abs(values)[..., None, :]
        G = (C * W) @ (column * (W * A)) + (C @ (A * W)) * (W * row) + (column * W) * ((C * W) @ A)
        return to_vector(xp, U @ (G + xp.swapaxes(G, -1, -2)) @ U_transposed)

    def smoothed(self, xp: Arrays, v: Float[Any, "*B size"], mu: float) -> Smoothed:
        values, U = self._eigen(xp, v)
        part = smoothed_positive_part(xp, values, mu)
        return Smoothed(_compose(xp, U, part.value), self._congruence(xp, U, part))

    def active(self, xp: Arrays, y: Float[Any, "*B size"]) -> Bool[Any, "*B size"]:
        return xp.broadcast_to(xp.any(y != 0, axis=-1)[..., None], y.shape)

    def _eigen(
        self, xp: Arrays, v: Float[Any, "*B size"]
    ) -> tuple[Float[Any, "*B order"], Float[Any, "*B order order"]]:
        values, U = xp.linalg.eigh(to_matrix(xp, v, self.order))
        return values, U

    def _congruence(self, xp: Arrays, U: Float[Any, "*B order order"], part: PositivePart) -> Congruence:
        i, j = upper_triangle(self.order)
        value, root = part.value, part.root
        return Congruence(U, divided_difference(xp, value[..., i], value[..., j], root[..., i], root[..., j]))


def _compose(xp: Arrays, U: Float[Any, "*B order order"], values: Float[Any, "*B order"]) -> Float[Any, "*B size"]:
    return to_vector(xp, (U * values[..., None, :]) @ xp.swapaxes(U, -1, -2))
