from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.limits.bounded import Bounded, bounded

Bound = Callable[..., AbstractAsyncContextManager[Bounded]]


@pytest.fixture
def bound(tmp_path: Path) -> Bound:
    """Serve a gateway with limits: `async with bound("sockets: 2") as one`."""
    return partial(bounded, tmp_path)
