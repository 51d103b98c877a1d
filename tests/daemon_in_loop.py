"""A daemon in the test's own loop, listening on a free port."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.daemon.daemon import Daemon, StartupInfo

__all__ = ["served"]


@asynccontextmanager
async def served(
    file: Path, state: Path | None = None, *, last_good: bool = False
) -> AsyncIterator[str]:
    """Run a daemon on a free port; gives its address without the path.

    `state` is its state folder, by default one that is deleted in the end.
    """
    started: asyncio.Future[StartupInfo] = asyncio.get_running_loop().create_future()
    with tempfile.TemporaryDirectory() as folder:
        environ = {"XDG_STATE_HOME": str(state or folder)}
        daemon = Daemon(file, environ=environ, port=0, last_good=last_good)
        running = asyncio.create_task(daemon.run(started.set_result))
        await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        try:
            yield started.result().url
        finally:
            daemon.stop()
            await running
