"""A gateway under attack, and somebody who was connected to it all along."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.daemon.daemon import Daemon, StartupInfo
from tests.deadline import deadline
from tests.gateway_files import write
from tests.raw_client import Raw, raw
from tests.serving_metrics import metrics_of

CONFIG = """
server: {ping_interval: 25s, ping_timeout: 20s}
namespaces:
  /:
    connection_middleware: [plugin.entered]
    packet_middleware: [plugin.saw]
    routes:
      a: plugin.reply
      seen: plugin.tell
      disconnect: plugin.left
      error: plugin.left
      "*": plugin.reply
  /slow:
    connection_middleware: [plugin.slow]
  /closed:
    connection_middleware: [plugin.refuse]
"""

PLUGIN = """
import asyncio
from gateway import Reject

seen, ends = [], []

async def entered(ctx, next):
    if ctx.socket.handshake.auth:
        seen.append(["connect", dict(ctx.socket.handshake.auth)])
    await next()

async def saw(ctx, next):
    if ctx.event not in ("seen", "hello"):
        seen.append(ctx.packet)
    await next()

async def slow(ctx, next):
    await asyncio.Event().wait()

async def refuse(ctx, next):
    raise Reject("no", "no")

async def reply(ctx):
    return tuple(ctx.args)

async def left(ctx):
    ends.append(ctx.args[0])

async def tell(ctx):
    told = {"seen": list(seen), "ends": list(ends)}
    seen.clear(), ends.clear()
    return told
"""


class Records(logging.Handler):
    """Everything that is logged, by whomever."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.all: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(record)

    def faults(self) -> list[str]:
        """What a person would have to look into, since this was asked before."""
        taken, self.all = self.all, []
        return [
            record.getMessage()
            for record in taken
            if record.levelno > logging.WARNING or record.exc_info
        ]


class Gateway:
    """A gateway, and `witness`: a client in `/` that behaves."""

    def __init__(self, info: StartupInfo, witness: Raw, records: Records) -> None:
        self.url = info.url
        self.port = int(info.url.rpartition(":")[2])
        self.witness = witness
        self._info, self._records = info, records
        self._violations = self.violations()

    def violations(self) -> dict[str, int]:
        """How many there were of each kind, by the daemon's metrics."""
        text = metrics_of(self._info.serving)
        found = re.findall(r'^sockgw_violations_total\{kind="(\w+)"\} (\d+)', text, re.MULTILINE)
        return {kind: int(count) for kind, count in found}

    def news(self) -> dict[str, int]:
        """The violations since this was asked before."""
        now = self.violations()
        new = {kind: count - self._violations[kind] for kind, count in now.items()}
        self._violations = now
        return {kind: count for kind, count in new.items() if count}

    async def tell(self) -> Mapping[str, Any]:
        """What the plugins have seen, and why sockets have ended, since this was asked before."""
        await self.witness.send('421["seen"]')
        answer = await self.witness.receive()
        assert isinstance(answer, str)
        told: dict[str, Any] = json.loads(answer.removeprefix("431"))[0]
        return told

    async def ended(self) -> str:
        """Wait until a socket has ended that had joined; why."""
        async with deadline():
            while not (ends := (await self.tell())["ends"]):
                pass
        assert len(ends) == 1
        return str(ends[0])

    async def is_unharmed(self) -> None:
        """The witness is answered, no plugin saw a thing, and nothing is in the log to look into.

        What a client did is logged without a traceback, and not as a fault.
        """
        await self.witness.send('427["hello","you"]')
        assert await self.witness.receive() == '437["you"]'
        assert (await self.tell())["seen"] == []
        assert self._records.faults() == []


@asynccontextmanager
async def gateway_of(folder: Path, records: Records) -> AsyncIterator[Gateway]:
    started: asyncio.Future[StartupInfo] = asyncio.get_running_loop().create_future()
    file = write(folder, CONFIG, plugin=PLUGIN)
    daemon = Daemon(file, environ={"XDG_STATE_HOME": str(folder / "state")}, port=0)
    running = asyncio.create_task(daemon.run(started.set_result))
    await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    try:
        info = started.result()
        async with raw(info.url) as witness:
            await witness.join()
            yield Gateway(info, witness, records)
    finally:
        daemon.stop()
        await running


@contextmanager
def recorded() -> Iterator[Records]:
    """Everything that is logged meanwhile."""
    handler, root, ours = Records(), logging.getLogger(), logging.getLogger("sockgw")
    root.addHandler(handler)
    former, level = ours.propagate, ours.level
    ours.propagate = True
    ours.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        ours.propagate = former
        ours.setLevel(level)
        root.removeHandler(handler)


@pytest.fixture(scope="module")
def records() -> Iterator[Records]:
    with recorded() as handler:
        yield handler


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def attacked(
    tmp_path_factory: pytest.TempPathFactory, records: Records
) -> AsyncIterator[Gateway]:
    """One gateway for all of a module."""
    async with gateway_of(tmp_path_factory.mktemp("gateway"), records) as gateway:
        yield gateway
