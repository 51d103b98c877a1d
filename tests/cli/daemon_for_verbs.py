"""A daemon in the test's own loop, and verbs in a thread that ask it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from click.testing import Result

from tests.cli.invoke import invoke
from tests.daemon_in_loop import served

__all__ = ["CONFIG", "ask", "asked"]

CONFIG = """\
server: {port: 0}
reload: {watch: "off", close_window: 1ms}
admin: {socket: admin.sock}
namespaces:
  /: {routes: {say: chat.say}}
"""


def asked(file: Path, *, last_good: bool = False) -> AbstractAsyncContextManager[str]:
    """Run a daemon whose state folder is beside its file; gives the address of its gateway."""
    return served(file, file.parent / "state", last_good=last_good)


async def ask(verb: str, file: Path, *args: str, color: bool = False) -> Result:
    """Run a verb to its end while the daemon goes on."""
    return await asyncio.to_thread(invoke, verb, file, *args, color=color, **_state(file))


def _state(file: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(file.parent / "state")}
