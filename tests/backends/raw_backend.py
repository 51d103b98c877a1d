"""A backend on a plain socket, which answers whatever bytes a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

__all__ = ["RawBackend", "read_request", "serve_raw"]

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawBackend:
    """What is known of a raw backend: its `url`, and how many connections it has had."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0


@asynccontextmanager
async def serve_raw(
    serve: Serve, path: Path | None = None, port: int = 0
) -> AsyncIterator[RawBackend]:
    """Let `serve` have each connection; on loopback, or on a Unix socket."""
    backend = RawBackend()
    writers: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend.connections += 1
        writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    if path:
        server = await asyncio.start_unix_server(connected, path)
        backend.url = f"unix:{path}"
    else:
        server = await asyncio.start_server(connected, "127.0.0.1", port)
        backend.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield backend
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read one request whose length is told; gives its head and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = [
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    return head + await reader.readexactly(length)
