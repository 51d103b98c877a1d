"""A Socket.IO client that sends exactly what it is told to, over a WebSocket or by polling."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp

from tests.deadline import DEADLINE

__all__ = ["Packet", "Raw", "raw"]

Packet = str | bytes
MESSAGES = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)


class Raw:
    """An Engine.IO session; `handshake` is what the server said of it."""

    def __init__(self) -> None:
        self.handshake: dict[str, Any] = {}

    async def send(self, *packets: Packet) -> None:
        """Send Engine.IO packets: text as it is, bytes as a binary message."""
        raise NotImplementedError

    async def receive(self, timeout: float | None = DEADLINE) -> Packet | None:
        """The next packet but pings, which are answered; `None` when the session is over.

        Waits `timeout` seconds, with `None` for ever.
        """
        async with asyncio.timeout(timeout):
            while (packet := await self._next()) == "2":
                await self.send("3")
        return packet

    async def join(self, namespace: str = "/", auth: str = "") -> Packet | None:
        """Send CONNECT; gives the answer."""
        head = "" if namespace == "/" else f"{namespace},"
        await self.send(f"40{head}{auth}")
        return await self.receive()

    async def _next(self) -> Packet | None:
        raise NotImplementedError


class _WebSocket(Raw):
    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        super().__init__()
        self._websocket = websocket

    async def send(self, *packets: Packet) -> None:
        for packet in packets:
            if isinstance(packet, str):
                await self._websocket.send_str(packet)
            else:
                await self._websocket.send_bytes(packet)

    async def _next(self) -> Packet | None:
        message = await self._websocket.receive()
        return message.data if message.type in MESSAGES else None


class _Polling(Raw):
    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        super().__init__()
        self._http = http
        self._url = url
        self._packets: deque[Packet] = deque()

    async def send(self, *packets: Packet) -> None:
        body = "\x1e".join(
            packet if isinstance(packet, str) else "b" + base64.b64encode(packet).decode()
            for packet in packets
        )
        # A refusal is no error here: it ends the session, which the next poll hears of.
        async with self._http.post(self._at(), data=body.encode()):
            pass

    async def _next(self) -> Packet | None:
        while not self._packets:
            async with self._http.get(self._at()) as answer:
                if answer.status != 200:
                    return None
                packets = (await answer.text()).split("\x1e")
            self._packets.extend(
                base64.b64decode(packet[1:]) if packet.startswith("b") else packet
                for packet in packets
                if packet != "6"
            )
        packet = self._packets.popleft()
        return None if packet == "1" else packet

    def _at(self) -> str:
        sid = self.handshake.get("sid")
        return f"{self._url}&sid={sid}" if sid else self._url


@asynccontextmanager
async def raw(
    url: str,
    transport: Literal["websocket", "polling"] = "websocket",
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Raw]:
    """Open an Engine.IO session at the gateway at `url`, which may be `unix:PATH`.

    Every request has these headers.
    """
    unix = aiohttp.UnixConnector(url[5:]) if url.startswith("unix:") else None
    path = f"{'http://localhost' if unix else url}/socket.io/?EIO=4&transport={transport}"
    async with aiohttp.ClientSession(connector=unix, headers=headers) as http:
        if transport == "polling":
            yield await _opened(_Polling(http, path))
        else:
            async with http.ws_connect(path) as websocket:
                yield await _opened(_WebSocket(websocket))


async def _opened(client: Raw) -> Raw:
    packet = await client.receive()
    assert isinstance(packet, str)
    assert packet.startswith("0{")
    client.handshake = json.loads(packet[1:])
    return client
