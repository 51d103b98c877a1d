from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.reload.edited_daemon import Running, running
from tests.reload.plugin_gates import Stage
from tests.reload.plugin_gates import stage as the_stage

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
