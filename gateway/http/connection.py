"""Connections of the public port: they turn bytes into requests, in order, and send the answers.

A connection answers one request at a time; later requests wait. Plain requests are read in one
step and all others by the parser. From there on both take the same path.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Protocol, cast

from gateway.http.deadlines import Deadlines
from gateway.http.parser import END, BadRequest, Event, Parser
from gateway.http.request import Request, read_plain
from gateway.http.response import CONTINUE, NOT_FOUND, Answer, encode

__all__ = ["CloseQueue", "Due", "Exchange", "HttpConnection", "HttpServer", "QueuedProtocol"]

WAITING = 2**16
"""Bytes that may wait behind the request in progress before the connection stops reading."""

AT_ONCE = 128
"""Heads, pieces of bodies and ends of requests that are handled in one turn of the loop."""

READ_AT_ONCE = 2**14
"""Bytes that are parsed at a time: parsed requests take many times the memory of their bytes."""

KEEPALIVE = 3630.0
"""Seconds that a connection may be idle between requests: longer than any proxy keeps one open.

The check runs at this interval, so an idle connection is closed after at most twice as long.
"""

LINGER = 2.0
"""Seconds that a client gets to read the last answer on a connection and close it."""

BAD_REQUEST = Answer(400)
EXPECTATION_FAILED = Answer(417, closes=True)

CONTINUES = "100-continue"
"""The one expectation that there is: https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1"""

CLOSED_AT_ONCE = 64
"""Connections that are closed per turn of the loop."""


class Due(IntEnum):
    """A connection's deadlines."""

    REQUEST = 100
    """The head of a request has to arrive, or the rest of one that is already answered."""
    IDLE = 101
    """Another request has to arrive."""


class Exchange(Protocol):
    """A request in progress. `body_limit` is the size of the largest body it accepts, in bytes."""

    @property
    def body_limit(self) -> int: ...

    def finish(self, body: bytes) -> None:
        """Answer the request, which is complete."""

    def too_large(self) -> None:
        """Refuse the request: its body is over the limit, or its length announces that."""

    def broken(self) -> None:
        """Give up: the rest of the body cannot be read."""

    def written(self) -> None:
        """Note that the answer is written and the next request may follow."""

    def lost(self) -> None:
        """Note that the connection is gone."""


Respond = Callable[[Request, "HttpConnection"], Exchange | None]
"""Answers a request or begins to. `None` means it is answered or has taken over the connection."""


class HttpServer:
    """Makes the connections of one port. `routes` maps paths to the functions that answer them.

    `request_timeout` returns the seconds that a client gets to send the head of a request.
    `bad_request` is called with a client's address and the reason when it does not send HTTP,
    `timed_out` with its address when no request arrives in time.
    """

    def __init__(
        self,
        routes: Mapping[str, Respond],
        deadlines: Deadlines,
        request_timeout: Callable[[], float],
        bad_request: Callable[[str, str], None],
        timed_out: Callable[[str], None],
    ) -> None:
        self.routes = routes
        self.deadlines = deadlines
        self.request_timeout = request_timeout
        self.bad_request = bad_request
        self.timed_out = timed_out
        self.closing = CloseQueue()
        self.keepalive = KEEPALIVE
        self.connections: set[HttpConnection] = set()

    def __call__(self) -> HttpConnection:
        return HttpConnection(self)

    def expect_rest(self, connection: HttpConnection) -> None:
        """Start the deadline for the rest of a request."""
        if not connection.is_timed:
            connection.is_timed = True
            self.deadlines.set(connection, Due.REQUEST, self.request_timeout())

    def expect_nothing(self, connection: HttpConnection) -> None:
        """Cancel that deadline: the request is complete."""
        if connection.is_timed:
            connection.is_timed = False
            self.deadlines.cancel(connection, Due.REQUEST)

    async def shutdown(self) -> None:
        """Close all connections, after the polls that were woken in this turn are answered."""
        await asyncio.sleep(0)
        for connection in tuple(self.connections):
            connection.close()


class CloseQueue:
    """Closes connections a few at a time.

    Each connection takes its session, its sockets and their chains with it. Closing thousands in
    one turn of the loop would stall all other clients.
    """

    def __init__(self) -> None:
        self._queue: deque[Callable[[], None]] = deque()

    def add(self, close: Callable[[], None]) -> None:
        if not self._queue:
            asyncio.get_running_loop().call_soon(self._close_some)
        self._queue.append(close)

    def _close_some(self) -> None:
        try:
            for _ in range(min(CLOSED_AT_ONCE, len(self._queue))):
                self._queue.popleft()()
        finally:  # one that raises must not hold up all others
            if self._queue:
                asyncio.get_running_loop().call_soon(self._close_some)


class QueuedProtocol(asyncio.Protocol):
    """A connection that closes through a `CloseQueue`."""

    __slots__ = ("_closing", "_cut", "_is_queued", "_transport")

    _transport: asyncio.Transport

    def __init__(self, closing: CloseQueue) -> None:
        self._closing = closing
        self._is_queued = False
        self._cut: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """The client's address; empty on a Unix socket."""
        peer = self._transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else peer or ""

    @property
    def closing(self) -> CloseQueue:
        """The queue that the connection closes through."""
        return self._closing

    @property
    def is_secure(self) -> bool:
        """True for a connection over TLS."""
        return self._transport.get_extra_info("sslcontext") is not None

    def close(self) -> None:
        """Close the connection once everything written has been sent."""
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._transport.abort()

    def cut_later(self, seconds: float) -> None:
        """Drop the connection in `seconds`, if it is still open by then."""
        if self._cut is None:
            self._cut = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def cut_no_more(self) -> None:
        """Cancel `cut_later`."""
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None

    def linger(self, seconds: float) -> None:
        """End the output, and read on for up to `seconds` before the connection is dropped.

        Closing with unread bytes makes TCP reset the connection, and the client may lose what was
        written last: https://www.rfc-editor.org/rfc/rfc9112#section-9.6
        """
        self._transport.write_eof()
        self._transport.resume_reading()
        self.cut_later(seconds)

    def lost(self) -> None:
        """Clean up after the connection is gone; called once."""
        raise NotImplementedError

    def eof_received(self) -> bool | None:
        if self._transport.get_extra_info("sslcontext"):  # TLS cannot be half closed
            return None
        self._is_queued = True
        self._closing.add(self._transport.close)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_queued:
            self.lost()
        else:
            self._closing.add(self.lost)


class HttpConnection(QueuedProtocol):
    """One connection. Each request is answered by one call of `answer`.

    To turn the connection into a WebSocket, call `detach` instead.
    """

    __slots__ = (
        "_body",
        "_events",
        "_exchange",
        "_is_answered",
        "_is_kept",
        "_is_over",
        "_is_paused",
        "_is_reading",
        "_is_running",
        "_parser",
        "_request",
        "_rest",
        "_server",
        "_was_used",
        "is_timed",
    )

    def __init__(self, server: HttpServer) -> None:
        super().__init__(server.closing)
        self._server = server
        self._parser: Parser | None = None  # made for the first request that is not plain
        self._events: deque[Event] | None = None  # parsed, and waiting for their turn
        self._rest = b""  # not parsed yet
        self._is_running = False  # `_run` is on the stack, or goes on in the next turn
        self._request: Request | None = None  # the one that is being read or answered
        self._exchange: Exchange | None = None
        self._body: bytearray | None = None  # the body so far, unless it is discarded
        self._is_reading = False  # in the middle of a body, discarded or not
        self._is_answered = False
        self._is_paused = False  # the client does not read fast enough
        self.is_timed = False  # the deadline REQUEST is set
        self._is_kept = False  # the first request is over, and the deadline IDLE is set
        self._was_used = True  # since the last check for idleness
        self._is_over = False  # nothing more is read here

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        self._server.expect_rest(self)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        if self._rest or self._events or (self._request is not None and not self._is_reading):
            self._rest += data
            if len(self._rest) > WAITING:
                self._transport.pause_reading()
            return
        self._read(data)
        if self._events or self._rest:
            self._run()

    def lost(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()
        self._forget()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._is_answered:
            self._written()

    def due(self, due: int, when: float) -> None:
        """Close the connection if the deadline that has passed was not met."""
        if due == Due.REQUEST:
            self._server.timed_out(self.address)
            self._transport.close()
        elif self._request is None and not self._was_used:
            self._transport.close()
        else:
            self._was_used = False
            self._server.deadlines.set(self, Due.IDLE, self._server.keepalive)

    # Called to answer

    def answer(self, answer: Answer) -> None:
        """Write the answer to the request, then call `written` of its exchange.

        If the client does not read, `written` is called once it reads again.
        """
        request = self._request
        if request is None or self._is_over or self._transport.is_closing():
            return
        keeps = request.keeps_alive and not answer.closes
        data = encode(answer, keeps_alive=keeps, has_body=request.method != "HEAD")
        self._transport.write(data)
        if not keeps:
            exchange, self._exchange = self._exchange, None
            if exchange is not None:
                exchange.written()
            self._close()
            return
        self._is_answered = True
        if not self._is_paused:
            self._written()

    def detach(self) -> tuple[asyncio.Transport, bytes] | None:
        """Hand over the transport, with the bytes that came after the request.

        Returns `None` if the connection is gone.
        """
        if self._transport.is_closing():
            return None
        tail = (self._parser.tail if self._parser is not None else None) or b""
        self._forget()
        return self._transport, tail + self._rest

    # Reading

    def _run(self, in_next_turn: bool = False) -> None:
        """Handle what waits, until a request has to be answered first or the turn is over."""
        if self._is_running and not in_next_turn:
            return
        self._is_running = True
        for _ in range(AT_ONCE):
            if self._is_over or (self._request is not None and not self._is_reading):
                break
            if self._events:
                self._take(self._events.popleft())
            elif self._rest:
                rest, self._rest = self._rest, b""
                if len(rest) > WAITING:
                    self._transport.resume_reading()
                self._read(rest)
            else:
                break
        else:
            asyncio.get_running_loop().call_soon(self._run, True)
            return
        self._is_running = False

    def _read(self, data: bytes) -> None:
        if self._parser is None or self._parser.is_between:
            request = read_plain(data)
            if request is not None:
                self._begin(request)
                return
        if self._parser is None:
            self._parser = Parser()
        data, self._rest = data[:READ_AT_ONCE], data[READ_AT_ONCE:]
        try:
            events = self._parser.feed(data)
        except BadRequest as error:
            self._fail(error)
            return
        if self._events is None:
            self._events = deque()
        self._events += events
        if not events and self._request is None:
            self._server.expect_rest(self)

    def _take(self, event: Event) -> None:
        if isinstance(event, Request):
            self._begin(event)
        elif event is END:
            self._end()
        elif self._body is not None and self._exchange is not None:
            self._body += event
            if len(self._body) > self._exchange.body_limit:
                self._body = None
                self._exchange.too_large()

    def _begin(self, request: Request) -> None:
        self._server.expect_nothing(self)
        self._request, self._was_used = request, True
        self._is_reading, self._is_answered = request.body is None, False
        respond = self._server.routes.get(request.path)
        if respond is None:
            self.answer(NOT_FOUND)
            return
        expected = request.headers.get("expect") if request.body is None else None
        if expected and expected.lower() != CONTINUES:
            self.answer(EXPECTATION_FAILED)
            return
        exchange = respond(request, self)
        if exchange is None:
            return
        self._exchange = exchange
        if request.body is None:
            self._await_body(request, exchange)
        else:
            exchange.finish(request.body)

    def _await_body(self, request: Request, exchange: Exchange) -> None:
        if request.headers.get("expect"):
            self._transport.write(CONTINUE)
        length = request.headers.get("content-length", "0")
        if int(length) > exchange.body_limit:
            exchange.too_large()
        else:
            self._body = bytearray()

    def _end(self) -> None:
        """Finish the request whose last byte was read."""
        self._is_reading = False
        body, self._body = self._body, None
        if body is not None and self._exchange is not None:
            self._exchange.finish(bytes(body))
        elif self._is_answered and not self._is_paused:
            self._finish()

    def _fail(self, error: BadRequest) -> None:
        """Refuse bytes that are not HTTP, and everything after them."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.broken()
            self._is_over = True
            self._transport.abort()
            return
        self._server.bad_request(self.address, str(error))
        if self._request is None:
            self._transport.write(encode(BAD_REQUEST, keeps_alive=False))
        self._is_reading = True  # more bytes may follow: see `linger`
        self._close()

    # Answering

    def _written(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.written()
        if self._is_reading:
            self._body = None
            self._server.expect_rest(self)
        else:
            self._finish()

    def _finish(self) -> None:
        """End the request and go on to the next."""
        self._request, self._is_answered = None, False
        self._server.expect_nothing(self)
        if not self._is_kept:
            self._is_kept = True
            self._server.deadlines.set(self, Due.IDLE, self._server.keepalive)
        if self._events or self._rest:
            self._run()
        elif self._parser is not None and not self._parser.is_between:
            self._server.expect_rest(self)

    def _close(self) -> None:
        """Close the connection after the last answer."""
        self._is_over = True
        self._exchange = None
        if self._is_reading and self._transport.can_write_eof():
            self.linger(LINGER)
        else:
            self._transport.close()

    def _forget(self) -> None:
        self._is_over = True
        self._server.connections.discard(self)
        self.cut_no_more()
        if self.is_timed or self._is_kept:
            self._server.deadlines.cancel(self)
