from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.reload.running import Running, running
from tests.reload.stage import Stage
from tests.reload.stage import stage as the_stage

Serve = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def gateway(tmp_path: Path) -> Serve:
    """Serve a gateway that is edited: `async with gateway(config, plugin=...) as running`."""
    return partial(running, tmp_path)


@pytest.fixture(autouse=True)
def stage() -> Iterator[Stage]:
    the_stage.clear()
    yield the_stage
    the_stage.go()
