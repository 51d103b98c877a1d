"""Stock clients, many in one process of Node.js: see `clients.js`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tests.js.install import HERE, NODE, install

__all__ = ["TRANSPORTS", "Calls", "Client", "Clients", "Connection", "Song", "clients"]

T = TypeVar("T")

PROGRAM = Path(__file__).with_name("clients.js")
TRANSPORTS = (("polling",), ("polling", "websocket"), ("websocket",))
LONGEST_LINE = 2**26  # bytes


class Connection(msgspec.Struct, frozen=True):
    """A connection: the tag of its worker, and its transport; `upgrade` just after an upgrade."""

    tag: str
    transport: str


class Calls(msgspec.Struct, frozen=True):
    """Calls of all clients; `lost` are the connections that ended before the answer came."""

    asked: int
    answered: int
    lost: list[Connection]


class Song(msgspec.Struct, frozen=True):
    """A broadcast: its number, the tag of its worker, and true if the call for it was answered."""

    number: int
    tag: str
    answered: bool


class Client(msgspec.Struct, frozen=True):
    """One client: its worker, 0 while it has none, and what it noticed since that was forgotten.

    `tag` is that of its last worker. `ended` are the connections that ended, and `left` counts
    those that it ended itself. `lost` and `twice` count numbers that it was not sent, or more often
    than once; `lacks` are the former.
    """

    transports: str
    worker: int
    tag: str
    noticed: list[str]
    ended: list[Connection]
    left: int
    upgraded: int
    lost: int
    twice: int
    lacks: list[int]


class Clients:
    """The clients of one process; numbers name broadcasts."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def open(
        self, url: str, ca: str, count: int, transports: Sequence[Sequence[str]] = TRANSPORTS
    ) -> None:
        """Connect clients; each is in the room in the end. `ca` is for https only."""
        await self._ask(type(None), do="open", url=url, ca=ca, count=count, transports=transports)

    async def tell(self, first: int, count: int) -> int:
        """Have broadcasts made, each by another client; how many of their calls were answered."""
        return await self._ask(int, do="tell", count=count, **{"from": first})

    async def start(self, by: int, every: float, first: int = 0) -> None:
        """Have a client broadcast every so many seconds from now on, numbered from `first`."""
        await self._ask(type(None), do="start", by=by, every=every * 1000, **{"from": first})

    async def stop(self) -> int:
        """Have that end; the number after the last one."""
        return await self._ask(int, do="stop")

    async def sing(self, by: Sequence[int], every: float, first: int = 0) -> None:
        """Have clients broadcast in turn, one every so many seconds, numbered from `first`."""
        await self._ask(type(None), do="sing", by=by, every=every * 1000, **{"from": first})

    async def hush(self) -> list[Song]:
        """Have that end; the broadcasts that were asked for."""
        return await self._ask(list[Song], do="hush")

    async def back(self) -> None:
        """Have all leave and come back; each is in the room in the end."""
        await self._ask(type(None), do="back")

    async def forget(self) -> None:
        """Forget what was noticed, and the broadcasts so far."""
        await self._ask(type(None), do="forget")

    async def busy(self, calls: float, leaves: float, changes: float = 0.0) -> None:
        """Have another client call, and another one leave and come back, each so many seconds.

        With `changes`, another one has rooms changed each so many seconds.
        """
        every = {"calls": calls * 1000, "leaves": leaves * 1000, "changes": changes * 1000}
        await self._ask(type(None), do="busy", **every)

    async def quiet(self) -> Calls:
        """Have that end; all the calls."""
        return await self._ask(Calls, do="quiet")

    async def close(self) -> None:
        """Have all clients leave."""
        await self._ask(type(None), do="close")

    async def facts(self, first: int, end: int) -> list[Client]:
        """The clients, as to the numbers from `first` to before `end`."""
        return await self._ask(list[Client], do="facts", to=end, **{"from": first})

    async def _ask(self, answer: type[T], **command: Any) -> T:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(command) + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the clients have ended")
        return msgspec.json.decode(line, type=answer)


@asynccontextmanager
async def clients() -> AsyncIterator[Clients]:
    """Run a process for clients; it ends with the block."""
    install()
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        NODE, PROGRAM, HERE, stdin=pipe, stdout=pipe, limit=LONGEST_LINE
    )
    try:
        yield Clients(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
