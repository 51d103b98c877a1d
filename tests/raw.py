"""A Socket.IO client that sends exactly what it is told to, over a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

__all__ = ["Raw", "raw"]


class Raw:
    """`send` takes an Engine.IO packet as text or bytes, `receive` gives the next one."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self._websocket = websocket

    async def send(self, *packets: str | bytes) -> None:
        for packet in packets:
            if isinstance(packet, str):
                await self._websocket.send_str(packet)
            else:
                await self._websocket.send_bytes(packet)

    async def receive(self, timeout: float = 5.0) -> str | bytes | None:
        """The next packet but pings; `None` when the server has closed the connection."""
        async with asyncio.timeout(timeout):
            while True:
                message = await self._websocket.receive()
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    return None
                if message.data != "2":
                    return message.data  # type: ignore[no-any-return]

    async def join(self, namespace: str = "/", auth: str = "") -> str | bytes | None:
        """Send CONNECT; gives the answer."""
        head = "" if namespace == "/" else f"{namespace},"
        await self.send(f"40{head}{auth}")
        return await self.receive()


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[Raw]:
    """Open an Engine.IO session at the gateway at `url`."""
    path = f"{url}/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as session, session.ws_connect(path) as websocket:
        client = Raw(websocket)
        handshake = await client.receive()
        assert isinstance(handshake, str)
        assert handshake.startswith("0{")
        yield client
