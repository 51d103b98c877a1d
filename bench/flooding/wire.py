"""Clients on plain sockets: bytes made beforehand, and as little work as possible."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "BINARY",
    "PATIENCE",
    "PING",
    "TEXT",
    "UPGRADE",
    "Http",
    "WebSocket",
    "connect",
    "frame",
    "get",
    "join",
    "post",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING = 0, 1, 2, 8, 9

SEPARATOR = b"\x1e"
"""Stands between the packets of a body."""

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)

PATIENCE = 60.0
"""Seconds after which an answer is lost."""


def frame(payload: bytes, opcode: int = TEXT, *, final: bool = True) -> bytes:
    """A frame, masked with zeros."""
    first, size = (0x80 if final else 0) | opcode, len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 2**16:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    return head + bytes(4) + payload


def connect(port: int) -> socket.socket:
    """A connection that is reset when it is closed, so that none lingers in the system."""
    line = socket.create_connection(("127.0.0.1", port), PATIENCE)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


class WebSocket:
    """A session on a WebSocket. Raises `ConnectionError` if it is refused or over."""

    def __init__(self, port: int) -> None:
        self.line = connect(port)
        self._read = bytearray()
        self.line.sendall(UPGRADE)
        while (end := self._read.find(b"\r\n\r\n")) < 0:
            self._more()
        if not self._read.startswith(b"HTTP/1.1 101"):
            raise ConnectionRefusedError(bytes(self._read[:12]))
        del self._read[: end + 4]
        self.packet()

    def send(self, *packets: bytes) -> None:
        """Send packets of Engine.IO, in one write."""
        self.line.sendall(b"".join(map(frame, packets)))

    def packet(self) -> bytes:
        """The next packet but pings, which are answered."""
        while True:
            opcode, payload = self._frame()
            if opcode == CLOSE:
                raise ConnectionResetError("closed")
            if payload != b"2":
                return payload
            self.send(b"3")

    def join(self, *packets: bytes) -> None:
        """Send packets; wait for the answer to each CONNECT before the next is sent."""
        for packet in packets:
            self.send(packet)
            if packet.startswith(b"40") and not self.packet().startswith(b"40"):
                raise ConnectionRefusedError("refused")

    def _frame(self) -> tuple[int, bytes]:
        size, head = self._bytes(2)[1], 2
        if size >= 126:
            head += 2 if size == 126 else 8
            size = int.from_bytes(self._bytes(head)[2:head])
        payload = bytes(self._bytes(head + size)[head : head + size])
        opcode = self._read[0] & 15
        del self._read[: head + size]
        return opcode, payload

    def _bytes(self, count: int) -> bytearray:
        while len(self._read) < count:
            self._more()
        return self._read

    def _more(self) -> None:
        data = self.line.recv(2**18)
        if not data:
            raise ConnectionResetError("closed")
        self._read += data


@dataclass(frozen=True, slots=True)
class Answered:
    """An HTTP response."""

    status: int
    body: bytes


class Http:
    """A connection for requests."""

    def __init__(self, port: int) -> None:
        self.line = connect(port)
        self._read = bytearray()

    def ask(self, request: bytes) -> Answered:
        """Send a request and wait for the answer. Raises `ConnectionError` if there is none."""
        self.line.sendall(request)
        return self.hear()

    def hear(self) -> Answered:
        """Wait for the next answer. Raises `ConnectionError` if there is none."""
        while (answer := self.answer()) is None:
            data = self.line.recv(2**18)
            if not data:
                raise ConnectionResetError("closed")
            self.feed(data)
        return answer

    def feed(self, data: bytes | memoryview) -> None:
        """Take what was received."""
        self._read += data

    def answer(self) -> Answered | None:
        """The next response; `None` until all of it is there."""
        end = self._read.find(b"\r\n\r\n") + 4
        if end < 4:
            return None
        head = bytes(self._read[:end])
        found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        size = end + (int(found[1]) if found else 0)
        if len(self._read) < size:
            return None
        body = bytes(self._read[end:size])
        del self._read[:size]
        return Answered(int(head[9:12]), body)


def get(sid: str = "") -> bytes:
    """A poll, or without a session the request that opens one."""
    where = f"/socket.io/?EIO=4&transport=polling{'&sid=' if sid else ''}{sid}"
    return f"GET {where} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def post(sid: str, body: bytes, *, length: int | None = None) -> bytes:
    """A request that brings a body; `length` stands in place of what is said of its length."""
    where = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
    size = len(body) if length is None else length
    return f"POST {where} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + body


def join(http: Http, packets: Sequence[bytes] = ()) -> str:
    """Open a session by polling and send packets, one a request; the id of the session.

    The answer to each CONNECT is waited for. Raises `ConnectionError` if it is refused.
    """
    opened = http.ask(get())
    found = re.search(rb'"sid":"([^"]+)"', opened.body)
    if opened.status != 200 or found is None:
        raise ConnectionRefusedError(opened.status)
    sid = found[1].decode()
    for packet in packets:
        answers = [http.ask(post(sid, packet))]
        if packet.startswith(b"40"):
            answers.append(http.ask(get(sid)))
        if any(answer.status != 200 for answer in answers):
            raise ConnectionRefusedError("refused")
    return sid
