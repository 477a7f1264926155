"""Bisection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from implicit.front_ends import FrontEnd, run_without_policy, statuses

from optlayers.errors import AccuracyWarning, OptionError, Status
from optlayers.implicit import Bisection

pytestmark = pytest.mark.usefixtures("unthreaded")


def test_bisection(front: FrontEnd) -> None:

    def F(z: Any, t: Any) -> Any:
        return z**3 - t[..., None]

    high = front.array(np.array([1.0, 2.0, 5.0, 5.0, 3.0]))
    z, info = run_without_policy(front, F, np.ones((5, 1)), [0.1, 1.0, 8.0, -3.0, 27.0], Bisection(low=0.0, high=high))
    assert statuses(info) == [Status.SOLVED] * 3 + [Status.NO_SIGN_CHANGE] + [Status.SOLVED]
    np.testing.assert_allclose(z[[0, 1, 2, 4], 0], np.cbrt([0.1, 1.0, 8.0, 27.0]), atol=1e-9)
    # Too steep, a jump, a pole: the interval shrinks to neighbouring numbers.

    def extreme(z: Any, t: Any) -> Any:
        return front.xp.concatenate([1e9 * (z[:1] ** 2 - t), front.xp.sign(z[1:2] - 0.3) + 0.5, 1 / (z[2:] - 0.3)])

    z, info = run_without_policy(front, extreme, np.ones((3, 1)), 2.0, Bisection(low=-1.0, high=2.0))
    assert statuses(info) == [Status.INACCURATE, Status.INACCURATE, Status.DIVERGED]
    np.testing.assert_allclose(z[:, 0], [np.sqrt(2), 0.3, 0.3], rtol=1e-8)
    with pytest.warns(AccuracyWarning, match="not to the requested accuracy"):
        front.root(
            lambda z, t: 1e9 * (z**2 - t), front.array(np.ones(1)), front.array(np.array(2.0)),
            solver=Bisection(low=0.0, high=2.0),
        )  # fmt: skip
    with pytest.raises(OptionError, match="one unknown"):
        run_without_policy(front, lambda z, t: z - t, np.ones(2), 0.0, Bisection(low=0.0, high=1.0))
    with pytest.raises(OptionError, match=r"high.*shape \(5,\)"):
        run_without_policy(front, lambda z, t: z - t, np.ones((2, 1)), 0.0, Bisection(low=0.0, high=high))
    with pytest.raises(OptionError, match="no steps"):
        front.root(
            lambda z, t: z - t, front.array(np.ones(1)), front.array(np.array(0.5)),
            solver=Bisection(low=0.0, high=1.0), differentiate="unrolled",
        )  # fmt: skip
