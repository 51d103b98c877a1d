"""A connection on which a test sends any bytes it likes, and reads what comes back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from tests.deadline import deadline

__all__ = ["Answer", "Line", "close", "connected", "frame", "get", "post", "upgrade"]

LIMIT = 20.0
"""Seconds that anything may take; nothing is said about how long it should."""

Transport = Literal["polling", "websocket"]
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    body: bytes

    @property
    def code(self) -> int | str | None:
        """The code that a request is refused with, engine.io's or ours; `None` without one."""
        return json.loads(self.body)["code"] if self.body.startswith(b'{"code"') else None


def get(target: str, *headers: str, method: str = "GET") -> bytes:
    """A request without a body; `target` is what stands behind the path of Socket.IO."""
    lines = [f"{method} /socket.io/{target} HTTP/1.1", "Host: gateway", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(target: str, body: bytes, *headers: str, length: object = None) -> bytes:
    """A POST request, with a Content-Length that may be wrong."""
    size = len(body) if length is None else length
    return get(target, f"Content-Length: {size}", *headers, method="POST") + body


def upgrade(target: str, *headers: str, **instead: str | None) -> bytes:
    """A request for a WebSocket; `instead` replaces headers, by names with `_`, or leaves out."""
    fields: dict[str, str | None] = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    fields |= {name.replace("_", "-"): value for name, value in instead.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return get(target, *lines, *headers)


def frame(
    payload: bytes = b"",
    opcode: int = TEXT,
    *,
    final: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length: bytes | None = None,
) -> bytes:
    """A WebSocket frame. `length` stands in the place of what the payload's would be."""
    first = (0x80 if final else 0) | reserved << 4 | opcode
    size = len(payload)
    if length is None:
        if size < 126:
            length = bytes([size])
        elif size < 2**16:
            length = struct.pack("!BH", 126, size)
        else:
            length = struct.pack("!BQ", 127, size)
    head = bytes([first, length[0] | (0x80 if masked else 0)]) + length[1:]
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    """A close frame."""
    return frame((b"" if code is None else struct.pack("!H", code)) + reason, CLOSE)


class Line:
    """One TCP connection to a gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send; a gateway that has closed already is no error."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            pass

    def end(self) -> None:
        """Send no more, but go on reading."""
        self.writer.write_eof()

    async def answer(self) -> Answer | None:
        """The next response, with its body; `None` when the connection is closed before it."""
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        length = re.search(r"\r\ncontent-length: (\d+)", head)
        try:
            body = await self.reader.readexactly(int(length[1])) if length else b""
        except asyncio.IncompleteReadError as error:  # what HEAD is answered with
            body = error.partial
        return Answer(int(head.split()[1]), body)

    async def frame(self) -> tuple[int, bytes] | None:
        """The opcode and the payload of the next frame; `None` when the connection is closed."""
        try:
            first, size = await self.reader.readexactly(2)
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
            return first & 15, await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def close_code(self) -> int | None:
        """What the gateway closes a WebSocket with; `None` when it says nothing before it does."""
        while (found := await self.frame()) is not None:
            opcode, payload = found
            if opcode == CLOSE:
                return int.from_bytes(payload[:2])
        return None

    async def closed(self) -> None:
        """Wait for the end of the connection; what comes before it is thrown away."""
        try:
            while await self.reader.read(2**16):
                pass
        except ConnectionError:
            pass

    async def handshake(self, transport: Transport, target: str = "") -> dict[str, Any]:
        """Open a session on polling or on a WebSocket; what the gateway says of it."""
        where = f"?EIO=4&transport={transport}{target}"
        if transport == "polling":
            await self.send(get(where))
            answer = await self.answer()
            assert answer is not None
            packet = answer.body
        else:
            await self.send(upgrade(where))
            switch = await self.answer()
            assert switch is not None
            assert switch.status == 101, switch
            opened = await self.frame()
            assert opened is not None
            packet = opened[1]
        facts: dict[str, Any] = json.loads(packet[1:])
        return facts


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Line]:
    """A connection, reset in the end."""
    async with deadline():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield Line(reader, writer)
        finally:
            writer.transport.abort()
