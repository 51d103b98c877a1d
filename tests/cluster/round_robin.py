"""A proxy that sends each request to the next of several ports, as plain round robin does.

Or to the port that a function chooses.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

__all__ = ["round_robin", "routed"]

LARGEST_HEAD = 2**16

TURNS = 5
"""Turns of the loop within which it serves what it has accepted."""


class _Proxy:
    def __init__(self, choose: Callable[[bytes], int]) -> None:
        self._choose = choose
        self.serving: set[asyncio.Task[None]] = set()

    def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._requests(client, to_client))
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)
        task.add_done_callback(lambda task: to_client.close())  # also of one that never ran

    async def close(self) -> None:
        """End all that is under way, once no connection comes any more."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
        for task in (tasks := tuple(self.serving)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _requests(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._request(client, to_client):
                pass

    async def _request(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> bool:
        """Pass on one request and its answer; false after the last one."""
        request = await _message(client)
        server, to_server = await asyncio.open_connection("127.0.0.1", self._choose(request))
        try:
            to_server.write(request)
            if b"\r\nupgrade: websocket\r\n" in request.lower():
                await asyncio.gather(_copy(client, to_server), _copy(server, to_client))
                return False
            return await self._answered(client, to_client, server)
        finally:
            to_server.close()

    async def _answered(
        self,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
    ) -> bool:
        """Pass on an answer; false if the client has left, and its request with it, as in nginx."""
        answer = asyncio.create_task(_message(server))
        left = asyncio.create_task(client.read(1))
        try:
            await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and left.done() and not left.result():
                return False
            to_client.write(await answer)
            left.cancel()
            await asyncio.wait({left})
            return left.cancelled()
        finally:
            answer.cancel()
            left.cancel()
            await asyncio.gather(answer, left, return_exceptions=True)


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One request or answer, whose body has a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    _, found, rest = head.lower().partition(b"\r\ncontent-length: ")
    return head + (await reader.readexactly(int(rest.split(b"\r\n")[0])) if found else b"")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(LARGEST_HEAD):
        writer.write(data)
        await writer.drain()
    writer.close()


def round_robin(*ports: int) -> AbstractAsyncContextManager[str]:
    """Serve in front of these ports; gives the address without the path."""
    each = itertools.cycle(ports)
    return routed(lambda request: next(each))


@asynccontextmanager
async def routed(choose: Callable[[bytes], int]) -> AsyncIterator[str]:
    """Serve in front of the ports that are chosen for each request; gives the address."""
    proxy = _Proxy(choose)
    site = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=LARGEST_HEAD)
    try:
        yield f"http://127.0.0.1:{site.sockets[0].getsockname()[1]}"
    finally:
        site.close()
        await proxy.close()
