"""A TCP relay whose connections can be cut, from a plugin of a gateway in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["cut", "relay"]


class _Relay:
    """Relays to one port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_cut = False
        self._serving: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """End all connections, and new ones too until a client begins a new session.

        Some clients ask once more by themselves when a connection ends before its answer begins.
        """
        self._is_cut = True
        self.end()

    def end(self) -> None:
        for task in self._serving:
            task.cancel()

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with suppress(asyncio.CancelledError, ConnectionError):  # asyncio would log them
                await self._pass_on(client, to_client)
        finally:
            to_client.transport.abort()
            self._serving.discard(task)

    async def _pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        first = await client.readuntil(b"\r\n") if self._is_cut else b""
        if b"sid=" in first:
            return
        self._is_cut = False
        server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        to_server.write(first)
        passing = [
            asyncio.create_task(_pass(client, to_server)),
            asyncio.create_task(_pass(server, to_client)),
        ]
        try:
            await asyncio.wait(passing)
        finally:
            for each in passing:
                each.cancel()
            to_server.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


_relays: set[_Relay] = set()


def cut() -> None:
    """Cut the connections of every relay."""
    for each in _relays:
        each.cut()


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[str]:
    """Relay to that port of 127.0.0.1; gives the address."""
    here = _Relay(port)
    _relays.add(here)
    listener = await asyncio.start_server(here.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        _relays.discard(here)
        listener.close()
        here.end()
        await listener.wait_closed()
