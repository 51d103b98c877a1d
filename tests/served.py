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
    state = tempfile.TemporaryDirectory()
    daemon = Daemon(file, environ={"XDG_STATE_HOME": state.name}, port=0)
    running = asyncio.create_task(daemon.run(started.set_result))
    await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    url = started.result().url
    try:
        yield url.removesuffix("/socket.io/")
    finally:
        daemon.stop()
        await running
        state.cleanup()
