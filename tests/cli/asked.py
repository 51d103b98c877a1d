"""A daemon in the test's own loop, and verbs in a thread that ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from click.testing import Result

from gateway.server.daemon import Daemon, Started
from tests.cli.verbs import invoke

__all__ = ["CONFIG", "ask", "asked"]

CONFIG = """\
server: {port: 0}
reload: {watch: "off", close_window: 1ms}
admin: {socket: admin.sock}
namespaces:
  /: {routes: {say: chat.say}}
"""


@asynccontextmanager
async def asked(file: Path, *, last_good: bool = False) -> AsyncIterator[str]:
    """Run a daemon whose state folder is beside its file; gives the address of its gateway."""
    started: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
    daemon = Daemon(file, environ=_state(file), port=0, last_good=last_good)
    running = asyncio.create_task(daemon.run(started.set_result))
    await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    try:
        yield started.result().url
    finally:
        daemon.stop()
        await running


async def ask(verb: str, file: Path, *args: str, color: bool = False) -> Result:
    """Run a verb to its end while the daemon goes on."""
    return await asyncio.to_thread(invoke, verb, file, *args, color=color, **_state(file))


def _state(file: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(file.parent / "state")}
