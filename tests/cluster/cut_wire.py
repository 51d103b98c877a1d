"""A way to a server on which tests drop what is sent, each way, without closing anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["CutWire", "cut_wire"]


class CutWire:
    """Copies bytes between its port and another, but for the ways in `drops`.

    These are `to_redis` and `from_redis`. New connections lead nowhere while one is dropped.
    """

    def __init__(self) -> None:
        self.port = 0
        self.drops: set[str] = set()
        self._to = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy both ways until one side closes."""
        task = asyncio.create_task(self._join(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: writer.transport.abort())  # also of one that never ran

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        copies: list[asyncio.Task[None]] = []
        try:
            with suppress(asyncio.CancelledError, OSError):  # in close(), or nobody listens there
                there, back = await asyncio.open_connection("127.0.0.1", self._to)
                writers.append(back)
                copies.append(asyncio.create_task(self._copy(reader, back, "to_redis")))
                copies.append(asyncio.create_task(self._copy(there, writer, "from_redis")))
                await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in writers:
                each.transport.abort()
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        is_cut = False
        while data := await reader.read(65536):
            is_cut = is_cut or way in self.drops  # a stream with a hole is none
            if not is_cut:
                writer.write(data)
                await writer.drain()

    async def close(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def cut_wire(to: int, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[CutWire]:
    """Copy to the port `to` of this machine until the block ends; `port` 0 is any free one."""
    wire = CutWire()
    wire._to = to
    server = await asyncio.start_server(wire.accept, host, port)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        await wire.close()
