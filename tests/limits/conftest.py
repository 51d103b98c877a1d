from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.limits.limited_daemon import Edge, edge_of


@pytest.fixture
def edge(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Callable[..., AbstractAsyncContextManager[Edge]]:
    """Serve with limits: `async with edge("sockets: 2") as one`."""
    caplog.set_level("INFO", "sockgw")
    return partial(edge_of, tmp_path)
