"""A client that floods, in a process of its own, and comes back whenever it is ended."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from bench.flooding.kinds import Kind, Transport
from bench.flooding.wire import Http, WebSocket, connect, get, join, post

__all__ = ["Flooded", "flood"]

GLANCE = 0.1
"""Seconds after which a flooder that can neither send nor read looks whether it is over."""

SCRATCH = memoryview(bytearray(2**20))
"""Takes what is received and not looked at."""


@dataclass(slots=True)
class Flooded:
    """Counts of a flooder: bytes sent, sessions opened, refusals and ends of sessions."""

    sent: int = 0
    opened: int = 0
    refused: int = 0
    ended: int = 0


def flood(port: int, kind: Kind, transport: Transport, pipe: Connection) -> None:
    """Flood until the other end of the pipe says something; then send it a `Flooded`."""
    done = Flooded()
    run = _runner(kind, transport)
    pipe.send("ready")
    while not pipe.poll(0):
        before = done.opened
        try:
            run(port, kind, pipe, done)
        except (ConnectionError, TimeoutError):
            if done.opened == before:
                done.refused += 1
                pipe.poll(GLANCE)  # whoever is refused comes back ten times a second
            else:
                done.ended += 1
    with suppress(BrokenPipeError):
        pipe.send(done)


_Run = Callable[[int, Kind, Connection, Flooded], None]


def _runner(kind: Kind, transport: Transport) -> _Run:
    if kind.requests:
        return _requests
    return _on_websocket if transport == "websocket" else _by_polling


def _requests(port: int, kind: Kind, pipe: Connection, done: Flooded) -> None:
    with closing(connect(port)) as line:
        done.opened += 1
        _Pouring(line, kind.requests, done).until(pipe)


def _on_websocket(port: int, kind: Kind, pipe: Connection, done: Flooded) -> None:
    client = WebSocket(port)
    with closing(client.line):
        client.join(*kind.opening)
        done.opened += 1
        client.line.sendall(kind.first)
        _Pouring(client.line, kind.stream, done).until(pipe)


class _Pouring:
    """The same bytes over and over, as fast as they are taken; whatever comes is thrown away."""

    def __init__(self, line: socket.socket, data: bytes, done: Flooded) -> None:
        self._line, self._done = line, done
        self._data, self._at = memoryview(data), 0

    def until(self, pipe: Connection) -> None:
        """Pour until the pipe says something. Raises `ConnectionError` if the session ends."""
        line = self._line
        line.setblocking(False)
        ready = select.poll()
        ready.register(line, select.POLLIN | select.POLLOUT)
        while not pipe.poll(0):
            for _, events in ready.poll(GLANCE * 1000):
                if events & ~select.POLLOUT and not line.recv_into(SCRATCH):
                    raise ConnectionResetError("closed")
                if events & select.POLLOUT:
                    self._pour()

    def _pour(self) -> None:
        sent = self._line.send(self._data[self._at :])
        self._done.sent += sent
        self._at = (self._at + sent) % len(self._data)


def _by_polling(port: int, kind: Kind, pipe: Connection, done: Flooded) -> None:
    posts, polls = Http(port), Http(port)
    with closing(posts.line), closing(polls.line):
        sid = join(posts, kind.opening)
        done.opened += 1
        request = _chunked(sid, kind.body) if kind.chunks else post(sid, kind.body)
        lines = {
            each.http.line.fileno(): each
            for each in (_Asking(posts, request, done), _Asking(polls, get(sid), done))
        }
        ready = select.poll()
        for number, each in lines.items():
            each.http.line.setblocking(False)
            ready.register(number, select.POLLIN | select.POLLOUT)
        while not pipe.poll(0):
            for number, events in ready.poll(GLANCE * 1000):
                ready.modify(number, lines[number].go_on(events))


def _chunked(sid: str, body: bytes) -> bytes:
    head, _, _ = post(sid, b"").partition(b"Content-Length")
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


class _Asking:
    """The same request over and over, each time the one before it is answered."""

    def __init__(self, http: Http, request: bytes, done: Flooded) -> None:
        self.http, self._done = http, done
        self._request, self._at = memoryview(request), 0

    def go_on(self, events: int) -> int:
        """Send and read what can be; the events to wait for next."""
        if events & ~select.POLLOUT:
            size = self.http.line.recv_into(SCRATCH)
            if not size:
                raise ConnectionResetError("closed")
            self.http.feed(SCRATCH[:size])
            answer = self.http.answer()
            if answer is not None:
                if answer.status != 200:
                    raise ConnectionResetError(answer.status)
                self._at = 0
        elif events & select.POLLOUT and self._at < len(self._request):
            sent = self.http.line.send(self._request[self._at :])
            self._done.sent += sent
            self._at += sent
        waits = self._at == len(self._request)
        return select.POLLIN if waits else select.POLLIN | select.POLLOUT
