"""A TCP proxy that is bad at WebSockets."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum
from typing import Self


class Fault(Enum):
    """What becomes of a WebSocket after its handshake."""

    CUT = "the connection is closed"
    SWALLOW = "frames are swallowed both ways"
    SWALLOW_DOWN = "frames of the server are swallowed"


class Proxy:
    """Passes on all else. `requests` counts those of clients, WebSocket handshakes too."""

    def __init__(self, port: int, fault: Fault) -> None:
        self._upstream = port
        self._fault = fault
        self.requests = 0
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()
        for each in self._serving:
            each.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        with suppress(asyncio.CancelledError):  # asyncio would log it
            await self._pass_on(client, to_client)

    async def _pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._upstream)
        tasks = [
            asyncio.create_task(self._pass(client, to_server, self._fault is Fault.SWALLOW)),
            asyncio.create_task(self._pass(server, to_client, True)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for writer in (to_server, to_client):
                writer.close()
        await asyncio.wait(tasks)
        for writer in (to_server, to_client):
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faulty: bool
    ) -> None:
        with suppress(ConnectionError):
            broken = False
            while data := await reader.read(65536):
                self.requests += data.count(b" HTTP/1.1\r\n")
                if not broken:
                    writer.write(data)
                    await writer.drain()
                if faulty and b"websocket" in data.lower() and b"Upgrade" in data:
                    if self._fault is Fault.CUT:
                        return
                    broken = True
