"""Servers that tests run, on a port of their own: to be started, killed, frozen."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from typing import Self

from tests.deadline import deadline
from tests.ports import free_port

__all__ = ["Server", "listens"]


class Server:
    """A server on a free port; it runs from `start` to `kill`, or as long as its block lasts.

    `arguments` returns those of the program, which is the first.
    """

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self.options: Sequence[str] = options
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        try:
            return await self.start()
        except BaseException:
            await self.kill()
            raise

    async def __aexit__(self, *error: object) -> None:
        await self.kill()

    def arguments(self) -> list[str]:
        raise NotImplementedError

    async def start(self) -> Self:
        """Start it, empty, and wait until it listens."""
        nowhere = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            *self.arguments(), stdout=nowhere, stderr=nowhere, stdin=nowhere
        )
        await listens(self.port, self._process)
        return self

    async def kill(self) -> None:
        """Kill it, as a crash does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            async with deadline():
                await self._process.wait()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def freeze(self) -> None:
        """Let it do nothing, with its connections open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


async def listens(port: int, process: asyncio.subprocess.Process) -> None:
    """Wait until a process listens on a port."""
    async with deadline():
        while True:
            assert process.returncode is None, "the process has ended"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                await writer.wait_closed()
                return
