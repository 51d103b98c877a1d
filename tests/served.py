"""A daemon in the test's own loop, listening on a free port."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.server.daemon import Daemon, Started

__all__ = ["served"]


@asynccontextmanager
async def served(file: Path) -> AsyncIterator[str]:
    """Run a daemon on a free port; gives its address without the path."""
    started: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
    with tempfile.TemporaryDirectory() as state:
        daemon = Daemon(file, environ={"XDG_STATE_HOME": state}, port=0)
        running = asyncio.create_task(daemon.run(started.set_result))
        await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        try:
            yield started.result().url
        finally:
            daemon.stop()
            await running
