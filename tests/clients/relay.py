"""A TCP relay that cuts its connections when the gateway says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["CUT", "relay"]

CUT = b"cut here"
"""What the gateway has to send; no client hears of it."""


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[str]:
    """Relay to that port of 127.0.0.1, after a cut as before; gives the address."""
    pairs: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        pairs.add(task)
        with suppress(asyncio.CancelledError):  # asyncio would log it
            server, to_server = await asyncio.open_connection("127.0.0.1", port)
            mine = {to_client, to_server}
            writers.update(mine)
            try:
                await asyncio.gather(up(client, to_server), down(server, to_client))
            finally:
                writers.difference_update(mine)
                for writer in mine:
                    writer.transport.abort()
                pairs.discard(task)

    async def up(client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await client.read(65536):
                to_server.write(data)
        to_server.close()

    async def down(server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await server.read(65536):
                if CUT in data:
                    for writer in [*writers]:
                        writer.transport.abort()
                    return
                to_client.write(data)
        to_client.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in pairs:
            task.cancel()
        if pairs:
            await asyncio.wait(pairs)
        await listener.wait_closed()
