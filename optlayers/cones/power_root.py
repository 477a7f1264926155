"""The projection on the dual of a power cone, by its root, with its first two derivatives.

For v = (u, w) outside K* and -K with W = |w| > 0, v = y - s with q = r (W - r), S_i = sqrt(u_i^2 + 4 a_i q) and

    y_i = (S_i + u_i) / 2,  |y_w| = W - r,      s_i = (S_i - u_i) / 2,  |s_w| = r,      y_i s_i = a_i q,

where r in (0, W) is the root of sum a_i log s_i - log r = 0 (Hien, 2015). It is found as t = log(r / (W - r)), which
holds r and W - r both to full relative accuracy; so are all y_i and s_i, and y's = 0 whatever the error of t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float

from optlayers.arrays import Arrays
from optlayers.cones.diagonal import diagonal

STEPS = 80
"""Steps of the root search: Newton's where they shrink by half each time, else bisections; 60 of these reach the last
digit."""

LARGEST = 80.0
"""|t| is at most this: one of r and W - r is then smaller than 1e-34 W."""


@final
@dataclass(frozen=True, slots=True)
class PowerRoot:
    """v = y - s outside K* and -K, with rest = W - r and sign = sign w.

    D and its derivative are written in what stays accurate as r or W - r tends to zero,

        g_i = a_i / S_i,  m_i = s_i / (r S_i),  n_i = y_i / ((W - r) S_i),  d = sum a_i (m_i + n_i).
    """

    a: Float[Any, "*B k"]
    u: Float[Any, "*B k"]
    S: Float[Any, "*B k"]
    y_u: Float[Any, "*B k"]
    s_u: Float[Any, "*B k"]
    r: Float[Any, "*B 1"]
    rest: Float[Any, "*B 1"]
    sign: Float[Any, "*B 1"]

    def y(self, xp: Arrays) -> Float[Any, "*B size"]:
        """Pi(v)."""
        return xp.concat([self.y_u, self.sign * self.rest], axis=-1)

    def s(self, xp: Arrays) -> Float[Any, "*B size"]:
        """Pi(v) - v."""
        return xp.concat([self.s_u, -self.sign * self.r], axis=-1)

    def derivative(self, xp: Arrays) -> Float[Any, "*B size size"]:
        """D = [[ diag(y / S) - (W - 2r) g g' / d,  sg g / d ],  [ sg g' / d,  (sum a_i m_i) / d ]].

        It follows from dr = (-g'du + (sum a_i n_i) dW) / d.
        """
        g = self.a / self.S
        m, n = self._shares()
        share, d = xp.sum(self.a * m, axis=-1)[..., None], xp.sum(self.a * (m + n), axis=-1)[..., None]
        zero = xp.zeros_like(self.r)
        g_0, w_0 = xp.concat([g, zero], axis=-1), xp.concat([xp.zeros_like(g), self.sign], axis=-1)
        bend = ((self.rest - self.r) / d)[..., None] * g_0[..., :, None] * g_0[..., None, :]
        mixed = g_0[..., :, None] * w_0[..., None, :] + w_0[..., :, None] * g_0[..., None, :]
        own = xp.concat([self.y_u / self.S, share / d], axis=-1)
        return diagonal(xp, own) - bend + mixed / d[..., None]

    def second_derivative(
        self, xp: Arrays, a: Float[Any, "*B size"], c: Float[Any, "*B size"]
    ) -> Float[Any, "*B size"]:
        """d/dv <a, D c>, by the chain rule through u, r and rest = W - r.

        With b the exponents, A = g'a_u, C = g'c_u, sigma = sum b_i m_i, eta = sum b_i n_i, d = sigma + eta,

            <a, D c> = sum a_i c_i y_i / S_i + F + a_w c_w sigma / d,  F = ((r - rest) A C + sg (A c_w + a_w C)) / d.

        The quantities in it, with h_i = y_i / S_i, k_i = s_i / S_i, and dq = rest dr + r drest, have the differentials

            dh_i = (2 b_i q du_i - b_i u_i dq) / S_i^3,
            dg_i = -b_i (u_i du_i + 2 b_i dq) / S_i^3,
            dm_i = (b_i u_i drest - 2 b_i rest du_i) / S_i^3 - k_i^2 (1 + 2 h_i) dr / r^2,
            dn_i = (2 b_i r du_i - b_i u_i dr) / S_i^3 - h_i^2 (1 + 2 k_i) drest / rest^2.

        Since k^2 (1 + 2 h) = k - h k (h - k), the terms with r^-2 and rest^-2 are large for small W and nearly cancel
        in the part along w: their leading parts, k_i dr / r^2 for u_i < 0 and h_i drest / rest^2 for the others, are
        kept apart. With N = sum {b_i : u_i < 0}, P = 1 - N, and the small parts H = sum {b_i h_i : u_i < 0},
        K = sum {b_i k_i : u_i >= 0}, z = H - K, they leave along w

            (P + z)^2 (N - H) - (N - z)^2 (P - K)
                = P N (P - N) + (2 P z + z^2) (N - H) - P^2 H + (2 N z - z^2) (P - K) + N^2 K.
        """
        a_u, c_u, a_w, c_w = a[..., :-1], c[..., :-1], a[..., -1:], c[..., -1:]
        b, u, S, r, rest, sign = self.a, self.u, self.S, self.r, self.rest, self.sign

        def total(part: Any) -> Any:
            return xp.sum(part, axis=-1)[..., None]

        g, cube = b / S, S * S * S
        m, n = self._shares()
        sigma, eta = total(b * m), total(b * n)
        d, gap = sigma + eta, rest - r
        A, C, both = total(g * a_u), total(g * c_u), a_w * c_w
        F = (-gap * A * C + sign * (A * c_w + a_w * C)) / d
        F_sigma, F_eta, F_gap = (both * eta / d - F) / d, -(both * sigma / d + F) / d, -A * C / d
        F_g = ((sign * c_w - gap * C) * a_u + (sign * a_w - gap * A) * c_u) / d

        own, h, k = a_u * c_u, self.y_u / S, self.s_u / S
        turn, nothing = h * k * u / S, xp.zeros_like(u)
        late_r = total(b * xp.where(u < 0, -turn, k * k * (1 + 2 * h)))
        late_rest = total(b * xp.where(u < 0, h * h * (1 + 2 * k), turn))
        by_q = -(own * u + 2 * b * F_g) * b / cube
        by_r = total(by_q * rest - F_eta * b * u * b / cube) - F_sigma * late_r / r / r - F_gap
        by_rest = total(by_q * r + F_sigma * b * u * b / cube) - F_eta * late_rest / rest / rest + F_gap

        N, P = total(xp.where(u < 0, b, nothing)), total(xp.where(u < 0, nothing, b))
        H, K = total(xp.where(u < 0, b * h, nothing)), total(xp.where(u < 0, nothing, b * k))
        z = H - K
        left = P * N * (P - N) + (2 * P * z + z * z) * (N - H) - P * P * H + (2 * N * z - z * z) * (P - K) + N * N * K
        lead_r, lead_rest = -F_sigma * (N - H) / r / r, -F_eta * (P - K) / rest / rest
        lead_w = F * ((N - H) * eta / r / r + (P - K) * sigma / rest / rest) / d - both * left / (r * rest * d) ** 2
        direct = (2 * b * (own * r * rest - F_sigma * b * rest + F_eta * b * r) - F_g * b * u) / cube
        by_u = direct + (by_rest - by_r + (lead_rest - lead_r)) * g / d
        by_w = sign * (by_r * eta + by_rest * sigma + lead_w) / d
        return xp.concat([by_u, by_w], axis=-1)

    def _shares(self) -> tuple[Float[Any, "*B k"], Float[Any, "*B k"]]:
        """m and n."""
        return self.s_u / self.r / self.S, self.y_u / self.rest / self.S


def find_root(xp: Arrays, u: Float[Any, "*B k"], w: Float[Any, "*B 1"], a: Float[Any, "*B k"]) -> PowerRoot:
    """The root for v = (u, w), w not zero, outside K* and -K, by Newton's method safeguarded by bisection."""
    W, one = xp.abs(w), xp.ones_like(w)
    sign = xp.where(w < 0, -one, one)
    low, high = -LARGEST * one, LARGEST * one
    t, last = xp.zeros_like(W), high - low
    for _ in range(STEPS):
        root = _at(xp, u, W, sign, a, t)
        value = xp.sum(a * xp.log(root.s_u / root.r), axis=-1)[..., None]
        slope = (xp.sum(a * a * (root.rest - root.r) * root.r / root.s_u / root.S, axis=-1)[..., None] - 1) * (
            root.rest / W
        )
        low, high = xp.where(value > 0, t, low), xp.where(value > 0, high, t)
        newton = t - value / xp.where(slope < 0, slope, -one)
        good = (slope < 0) & (newton > low) & (newton < high) & (xp.abs(newton - t) <= last / 2)
        step = xp.where(good, newton, (low + high) / 2)
        last = xp.abs(step - t)
        t = step
        if xp is np and not np.any(last > np.finfo(np.float64).eps * np.maximum(np.abs(t), 1.0)):
            break
    return _at(xp, u, W, sign, a, t)


def _at(xp: Arrays, u: Any, W: Any, sign: Any, a: Any, t: Any) -> PowerRoot:
    """The parts at t, of sums of equal signs only."""
    small = xp.exp(-xp.abs(t))
    large = W / (1 + small)
    r, rest = xp.where(t > 0, large, large * small), xp.where(t > 0, large * small, large)
    product = a * r * rest
    S = xp.sqrt(u * u + 4 * product)
    far = (xp.abs(u) + S) / 2
    near = product / far
    return PowerRoot(a, u, S, xp.where(u > 0, far, near), xp.where(u > 0, near, far), r, rest, sign)
