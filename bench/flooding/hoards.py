"""Sessions that make the gateway keep as much as they can, and the memory that each takes."""

from __future__ import annotations

import os
import select
import socket
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass

import msgspec

from bench.flooding.gateway import Program, running
from bench.flooding.kinds import BODY
from bench.flooding.wire import (
    BINARY,
    CONTINUATION,
    TEXT,
    UPGRADE,
    Http,
    WebSocket,
    connect,
    frame,
    get,
    join,
    post,
)

__all__ = ["HOARDS", "Hoard", "hoard"]

SETTLE = 1.5
"""Seconds before memory is read, in which sessions that are not allowed end."""

Open = Callable[[int], socket.socket]
"""Opens a session at a port, and gives its connection."""


@dataclass(frozen=True, slots=True)
class Hoard:
    """Bytes that each of some sessions takes, and how many of them are still connected.

    `peak` is bytes for each at the most.
    """

    gateway: str
    kind: str
    wanted: int
    held: int
    bytes: int
    peak: int
    load: float


def hoard(program: Program, kind: str, wanted: int) -> Hoard:
    """Open sessions of a kind at a gateway of its own."""
    load, (settings, make) = os.getloadavg()[0], HOARDS[kind]
    with running(program, settings=settings) as gateway, ExitStack() as stack:
        time.sleep(SETTLE)
        before, lines = gateway.memory(), []
        for _ in range(wanted):
            with suppress(ConnectionError, TimeoutError):
                lines.append(stack.enter_context(closing(make(gateway.port))))
        time.sleep(SETTLE)
        grown = gateway.memory() - before
        peak = gateway.memory(peak=True) - before
        held = sum(_is_open(line) for line in lines)
        return Hoard(
            program.checkout.name, kind, wanted, held, grown // wanted, peak // wanted, load
        )


def _is_open(line: socket.socket) -> bool:
    """Read what there is; false at an end, a WebSocket's close, or a refusal."""
    line.setblocking(False)
    ready = select.poll()
    ready.register(line, select.POLLIN)
    if not ready.poll(0):
        return True
    try:
        data = line.recv(2**16, socket.MSG_PEEK)
    except ConnectionError:
        return False
    return bool(data) and not data.startswith((b"\x88", b"HTTP/1.1 4", b"HTTP/1.1 5"))


def _on_websocket(*frames: bytes, opening: tuple[bytes, ...] = (b"40",)) -> Open:
    def make(port: int) -> socket.socket:
        client = WebSocket(port)
        client.join(*opening)
        client.line.settimeout(5)
        client.line.sendall(b"".join(frames))
        return client.line

    return make


def _heads(size: int) -> Open:
    """A WebSocket whose request has fields of so many bytes in all."""
    fields = b"".join(
        b"X-%d: %b\r\n" % (number, b"x" * min(8000, size // 100)) for number in range(100)
    )

    def make(port: int) -> socket.socket:
        line = connect(port)
        line.sendall(UPGRADE.replace(b"Host: x\r\n", b"Host: x\r\n" + fields) + frame(b"40"))
        return line

    return make


def _unread(packet: bytes) -> Open:
    """A WebSocket that asks for much and does not read it."""

    def make(port: int) -> socket.socket:
        client = WebSocket(port)
        client.join(b"40")
        client.line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(packet)
        return client.line

    return make


def _not_polled(packet: bytes) -> Open:
    """A session on polling that asks for much and does not fetch it."""

    def make(port: int) -> socket.socket:
        http = Http(port)
        http.ask(post(join(http, (b"40",)), packet))
        return http.line

    return make


def _half_body(port: int) -> socket.socket:
    http = Http(port)
    http.line.sendall(post(join(http), b"x" * (BODY - 1), length=BODY))
    return http.line


def _pipelined(port: int) -> socket.socket:
    """Requests without end behind a poll that waits."""
    http = Http(port)
    sid = join(http, (b"40",))
    http.line.settimeout(0.2)
    with suppress(TimeoutError):
        http.line.sendall(get(sid) * (2**22 // len(get(sid))))
    return http.line


def _deflating(port: int) -> socket.socket:
    """A WebSocket with a compression context on either side, used once in either direction."""
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    line = connect(port)
    deflate = zlib.compressobj(wbits=-15)
    event = b'42["drop",1]' + b" " * 5000
    packed = deflate.compress(event) + deflate.flush(zlib.Z_SYNC_FLUSH)
    data = bytearray(frame(packed[:-4]))
    data[0] |= 0x40
    line.sendall(UPGRADE[:-2] + offer + frame(b"40") + bytes(data))
    return line


_EMPTIES = b"[" + b",".join([b"{}"] * ((BODY - 60) // 3)) + b"]"
_PLACEHOLDER = b'["say",{"_placeholder":true,"num":0}'
_ATTACHMENT = frame(bytes(BODY), BINARY)
_PACKED_AUTH = frame(
    msgspec.msgpack.encode({"type": 0, "nsp": "/", "data": {"a": [{}] * (BODY - 60)}}), BINARY
)
_FRAGMENT = frame(b"x" * 9, CONTINUATION, final=False)

Settings = Mapping[str, str]

HOARDS: Mapping[str, tuple[Settings, Open]] = {
    "a plain session": ({}, _on_websocket()),
    "a head of 30 kB": ({}, _heads(30_000)),
    "a head of 800 kB": ({}, _heads(800_000)),
    "auth of 1 MB, full of {}": ({}, _on_websocket(frame(b'40{"a":%b}' % _EMPTIES), opening=())),
    "auth of 15 kB, full of {}": (
        {},
        _on_websocket(frame(b'40{"a":%b]}' % _EMPTIES[:14_997]), opening=()),
    ),
    "auth of 1 MB in MessagePack": (
        {"server": "{port: 0, serializer: msgpack}"},
        _on_websocket(_PACKED_AUTH, opening=()),
    ),
    "1 MB of a binary event, no attachment": (
        {},
        _on_websocket(frame(b"451-%b,%b]" % (_PLACEHOLDER, _EMPTIES))),
    ),
    "1 MB of a binary event, 9 attachments of 1 MB": (
        {},
        _on_websocket(frame(b"4510-%b,%b]" % (_PLACEHOLDER, _EMPTIES)), _ATTACHMENT * 9),
    ),
    "a binary event, 9 attachments of 1 MB": (
        {},
        _on_websocket(frame(b"4510-%b]" % _PLACEHOLDER), _ATTACHMENT * 9),
    ),
    "a fragmented message of 1 MB": (
        {},
        _on_websocket(
            frame(b"x" * 9, TEXT, final=False) + _FRAGMENT * (BODY // 9 - 2),
        ),
    ),
    "a body of 1 MB, the last byte missing": ({}, _half_body),
    "4 MB of requests behind a poll": ({}, _pipelined),
    "6 MB not read, WebSocket": ({}, _unread(b'42["drop",600]')),
    "3.9 MB not fetched, polling": ({}, _not_polled(b'42["drop",390]')),
    "10,000 rooms": ({}, _on_websocket(frame(b'42["rooms",9999]'))),
    "compression": ({"server": "{port: 0, compression: true}"}, _deflating),
}
"""The kinds by their names: settings of the gateway, and what opens a session."""
