"""Fixtures for the tests of iterations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from implicit.front_ends import FRONT_ENDS, FrontEnd


@pytest.fixture(params=FRONT_ENDS, ids=lambda front: front.name)
def front(request: pytest.FixtureRequest) -> FrontEnd:
    return request.param


@pytest.fixture
def unthreaded() -> Any:
    """Small matrices are factored faster by one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
