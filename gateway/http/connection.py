"""Connections of the public port: bytes to requests, in order, and answers back.

One request at a time is being answered on a connection; what comes behind it waits. Plain requests
are read in one step, all others by the parser, and from there on both go the same way.
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
"""Bytes behind a request that is being answered at which the connection is no longer read from."""

READ_AT_ONCE = 2**14
"""Bytes that are read into requests at once: behind one that waits these are many times as much."""

KEEPALIVE = 3630.0
"""Seconds that a connection may be silent between requests: longer than any proxy keeps one.

It is looked at as often, so a silent one is closed after twice as much at most.
"""

LINGER = 2.0
"""Seconds that a client has to take the last answer of a connection and to close it."""

BAD_REQUEST = Answer(400)
EXPECTATION_FAILED = Answer(417, closes=True)

CLOSED_AT_ONCE = 64
"""Connections that are closed in one turn of the loop."""


class Due(IntEnum):
    """A connection's deadlines."""

    REQUEST = 100
    """Having sent the head of a request, or the rest of one that is answered already."""
    IDLE = 101
    """Having sent another request."""


class Exchange(Protocol):
    """A request that is not answered yet.

    `body_limit` is the size of the largest body that is wanted, in bytes.
    """

    @property
    def body_limit(self) -> int: ...

    def finish(self, body: bytes) -> None:
        """The request is whole."""

    def too_large(self) -> None:
        """The body is over the limit, or says that it will be."""

    def broken(self) -> None:
        """No more of the body can be read."""

    def written(self) -> None:
        """The answer is written: the next request may come."""

    def lost(self) -> None:
        """The connection is gone."""


Respond = Callable[[Request, "HttpConnection"], Exchange | None]
"""Answers a request, or begins to: `None` where it is answered, or has the connection."""


class HttpServer:
    """Makes the connections of one port; `routes` are those who answer, by paths.

    `request_timeout` gives the seconds that a client may take for the head of a request.
    `bad_request` and `timed_out` hear of clients, by their addresses, that send no HTTP, or
    nothing in time.
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
        """Bound the time that the rest of a request may take."""
        if not connection.is_timed:
            connection.is_timed = True
            self.deadlines.set(connection, Due.REQUEST, self.request_timeout())

    def expect_nothing(self, connection: HttpConnection) -> None:
        """The request is whole."""
        if connection.is_timed:
            connection.is_timed = False
            self.deadlines.cancel(connection, Due.REQUEST)

    async def shutdown(self) -> None:
        """Close all connections; polls that were woken are answered before, in this turn."""
        await asyncio.sleep(0)
        for connection in tuple(self.connections):
            connection.close()


class CloseQueue:
    """Closes connections a few at a time.

    Of thousands that go at once each takes its session, its sockets and their chains along. All in
    one turn of the loop would be a stall for everybody else.
    """

    def __init__(self) -> None:
        self._queue: deque[Callable[[], None]] = deque()

    def add(self, close: Callable[[], None]) -> None:
        if not self._queue:
            asyncio.get_running_loop().call_soon(self._close_some)
        self._queue.append(close)

    def _close_some(self) -> None:
        for _ in range(min(CLOSED_AT_ONCE, len(self._queue))):
            self._queue.popleft()()
        if self._queue:
            asyncio.get_running_loop().call_soon(self._close_some)


class QueuedProtocol(asyncio.Protocol):
    """A connection whose end waits for its turn."""

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
        """The queue that its end waits in."""
        return self._closing

    @property
    def is_secure(self) -> bool:
        """True for a connection over TLS."""
        return self._transport.get_extra_info("sslcontext") is not None

    def close(self) -> None:
        """Close the connection, once what was written is out."""
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def cut_later(self, seconds: float) -> None:
        """Drop the connection after so long, if it is not gone by then."""
        if self._cut is None:
            self._cut = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def cut_no_more(self) -> None:
        """Take that back, or see to it that nothing is left of it."""
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None

    def lost(self) -> None:
        """The connection is gone; called once."""
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
    """One connection.

    Whoever answers a request writes with `answer`, once; to make a WebSocket of the connection,
    it calls `detach` instead.
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
        self._events: deque[Event] | None = None  # read, and waiting for their turn
        self._rest = b""  # not read yet
        self._is_running = False  # through what waits
        self._request: Request | None = None  # that is being read or answered
        self._exchange: Exchange | None = None
        self._body: bytearray | None = None  # of a request whose body is wanted
        self._is_reading = False  # a body, wanted or not
        self._is_answered = False
        self._is_paused = False  # writing
        self.is_timed = False  # the rest of a request is due
        self._is_kept = False  # after a first request
        self._was_used = True  # since it was last looked whether the connection is idle
        self._is_over = False  # nothing more is read, or not by us

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # which uvloop's do not inherit
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
        """A deadline has passed."""
        if due == Due.REQUEST:
            self._server.timed_out(self.address)
            self._transport.close()
        elif self._request is None and not self._was_used:
            self._transport.close()
        else:
            self._was_used = False
            self._server.deadlines.set(self, Due.IDLE, self._server.keepalive)

    # What those who answer ask for

    def answer(self, answer: Answer) -> None:
        """Write the answer to the request; its exchange's `written` follows once that is out."""
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
        """Give the connection away; `None` if it is gone.

        With it comes what the client has sent behind the request.
        """
        if self._transport.is_closing():
            return None
        tail = (self._parser.tail if self._parser is not None else None) or b""
        self._forget()
        return self._transport, tail + self._rest

    # Reading

    def _run(self) -> None:
        """Go on with what waits, as far as the request in progress lets."""
        if self._is_running:
            return
        self._is_running = True
        while not self._is_over and (self._request is None or self._is_reading):
            if self._events:
                self._take(self._events.popleft())
            elif self._rest:
                rest, self._rest = self._rest, b""
                if len(rest) > WAITING:
                    self._transport.resume_reading()
                self._read(rest)
            else:
                break
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
        exchange = respond(request, self)
        if exchange is None:
            return
        self._exchange = exchange
        if request.body is None:
            self._await_body(request, exchange)
        else:
            exchange.finish(request.body)

    def _await_body(self, request: Request, exchange: Exchange) -> None:
        expected = request.headers.get("expect", "")
        if expected.lower() == "100-continue":
            self._transport.write(CONTINUE)
        elif expected:
            exchange.broken()
            self.answer(EXPECTATION_FAILED)
            return
        length = request.headers.get("content-length", "0")
        if int(length) > exchange.body_limit:
            exchange.too_large()
        else:
            self._body = bytearray()

    def _end(self) -> None:
        """The request is read."""
        self._is_reading = False
        body, self._body = self._body, None
        if body is not None and self._exchange is not None:
            self._exchange.finish(bytes(body))
        elif self._is_answered and not self._is_paused:
            self._finish()

    def _fail(self, error: BadRequest) -> None:
        """What the client sends cannot be read, nor anything behind it."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.broken()
            self._is_over = True
            self._transport.abort()
            return
        self._server.bad_request(self.address, str(error))
        if self._request is None:
            self._transport.write(encode(BAD_REQUEST, keeps_alive=False))
        self._is_reading = True  # or what it may still send would have the answer lost
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
        """The request is over: the next may come."""
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
        """Close the connection behind the last answer.

        What a client has sent and nobody reads would have TCP reset the connection, and the client
        lose the answer: https://www.rfc-editor.org/rfc/rfc9112#section-9.6
        """
        self._is_over = True
        self._exchange = None
        if not self._is_reading or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        self.cut_later(LINGER)

    def _forget(self) -> None:
        self._is_over = True
        self._server.connections.discard(self)
        self.cut_no_more()
        if self.is_timed or self._is_kept:
            self._server.deadlines.cancel(self)
