"""Loads that make a server do the same each time: every client waits for its answer.

What is sent is one segment, and nothing is sent before it is answered, so how messages meet in one
read or one turn of the loop does not depend on how fast the machine is.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

__all__ = ["WORKS", "Turn", "Work"]

CLIENTS, INFLIGHT, RECIPIENTS, JOINING = 10, 4, 100, 20
LIMIT = 120.0
"""Seconds an answer may take: valgrind is slow, and a busy machine as well."""

Turn = Callable[[], None]
"""Does a work once; how many messages that is, the work says."""


@dataclass(frozen=True, slots=True)
class Work:
    """A load. `begin` connects to a port on loopback; a turn has `messages`, a count `turns`."""

    name: str
    title: str
    begin: Callable[[int], AbstractContextManager[Turn]]
    messages: int
    turns: int


class _Link:
    """A TCP connection that reads HTTP responses and the frames of a server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = self._socket.makefile("rb")
        self.send = self._socket.sendall

    def close(self) -> None:
        self._input.close()
        self._socket.close()

    def leave(self) -> None:
        """End the connection, and wait until the server has ended its half."""
        self._socket.shutdown(socket.SHUT_WR)
        self._input.read()
        self.close()

    def response(self, status: bytes = b"200") -> bytes:
        """The body of the next response, which must have this status."""
        line = self._input.readline()
        if line.split()[1:2] != [status]:
            raise RuntimeError(f"the server answered {line!r}")
        length = 0
        while (line := self._input.readline()) not in {b"\r\n", b""}:
            name, _, value = line.lower().partition(b":")
            length = int(value) if name == b"content-length" else length
        return self._input.read(length)

    def frame(self, starts: bytes) -> bytes:
        """The text of the next frame, which must start so; it has up to 64 KiB."""
        head = self._input.read(2)
        length = head[1] if head[1] < 126 else int.from_bytes(self._input.read(2))
        text = self._input.read(length)
        if head[0] != 0x81 or not text.startswith(starts):
            raise RuntimeError(f"the server sent {head + text!r}")
        return text


def _request(method: str, transport: str, sid: str = "", body: str = "") -> bytes:
    lines = [f"{method} /socket.io/?EIO=4&transport={transport}{sid} HTTP/1.1", "Host: 127.0.0.1"]
    if transport == "websocket":
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    if body:
        lines += ["Content-Type: text/plain;charset=UTF-8", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body]).encode()


def _frame(text: str) -> bytes:
    """A client's frame; its mask is 0, which the server applies like any other."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode()


UPGRADE = _request("GET", "websocket")
JOIN = _frame("40")


def _connect(stack: ExitStack, port: int) -> _Link:
    """A client by WebSocket, in the namespace `/`; the stack closes it."""
    link = _Link(port)
    stack.callback(link.close)
    link.send(UPGRADE)
    link.response(b"101")
    link.frame(b"0{")
    link.send(JOIN)
    link.frame(b"40{")
    return link


@contextmanager
def _calls(port: int, *, packet: str, answer: bytes) -> Iterator[Turn]:
    """Some messages in one segment, answered before the next client has its turn."""
    segment = _frame(packet) * INFLIGHT
    with ExitStack() as stack:
        links = [_connect(stack, port) for _ in range(CLIENTS)]

        def turn() -> None:
            for link in links:
                link.send(segment)
                for _ in range(INFLIGHT):
                    link.frame(answer)

        yield turn


@contextmanager
def _polling(port: int) -> Iterator[Turn]:
    """A poll that waits on one connection, a call on the other, which ends the poll."""
    with ExitStack() as stack:
        polls, posts = _Link(port), _Link(port)
        stack.callback(polls.close)
        stack.callback(posts.close)
        polls.send(_request("GET", "polling"))
        sid = f"&sid={json.loads(polls.response()[1:])['sid']}"
        poll = _request("GET", "polling", sid)
        posts.send(_request("POST", "polling", sid, "40"))
        posts.response()
        polls.send(poll)
        polls.response()
        call = _request("POST", "polling", sid, '421["ask","hello world!"]')

        def turn() -> None:
            polls.send(poll)
            posts.send(call)
            posts.response()
            if not polls.response().startswith(b"431["):
                raise RuntimeError("a poll brought something else than the ack")

        yield turn


@contextmanager
def _broadcast(port: int) -> Iterator[Turn]:
    packet = _frame('42["broadcast","hello world!"]')
    with ExitStack() as stack:
        links = [_connect(stack, port) for _ in range(RECIPIENTS)]

        def turn() -> None:
            links[0].send(packet)
            for link in links:
                link.frame(b'42["news"')

        yield turn


@contextmanager
def _connecting(port: int) -> Iterator[Turn]:
    """Clients join one after the other, and stay."""
    with ExitStack() as stack:

        def turn() -> None:
            for _ in range(JOINING):
                _connect(stack, port)

        yield turn


@contextmanager
def _visits(port: int) -> Iterator[Turn]:
    """Clients join and leave, one after the other."""
    with ExitStack() as stack:

        def turn() -> None:
            for _ in range(JOINING):
                _connect(stack, port).leave()

        yield turn


_chat = partial(_calls, packet='42["chat","hello world!"]', answer=b'42["res"')
_ask = partial(_calls, packet='421["ask","hello world!"]', answer=b"431[")

WORKS = {
    work.name: work
    for work in (
        Work("chat", "chat, answer emitted, 4 in a read", _chat, CLIENTS * INFLIGHT, 50),
        Work("ask", "chat, answer as ack, 4 in a read", _ask, CLIENTS * INFLIGHT, 50),
        Work("polling", "acked call by polling", _polling, 1, 500),
        Work(
            "broadcast", f"broadcast, each of {RECIPIENTS} recipients", _broadcast, RECIPIENTS, 20
        ),
        Work("connect", "connection accepted", _connecting, JOINING, 20),
        Work("visit", "connection accepted and closed", _visits, JOINING, 20),
    )
}
