"""Connections of the public port: they turn bytes into requests, in order, and send the answers.

A connection answers one request at a time; later requests wait. Plain requests are read in one
step and all others by the parser. From there on both take the same path.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal, cast

from gateway.http.closing import CloseQueue, QueuedProtocol
from gateway.http.deadlines import Deadlines
from gateway.http.descriptors import descriptors_for_connections
from gateway.http.exchange import Bounds, Due, Exchange
from gateway.http.parser import END, BadRequest, Event, Parser
from gateway.http.request import Request, read_plain
from gateway.http.response import CONTINUE, Answer, encode

__all__ = ["HttpConnection", "HttpServer", "Respond"]

WAITING = 2**16
"""Bytes that may wait behind the request in progress before the connection stops reading."""

AT_ONCE = 128
"""Heads, pieces of bodies and ends of requests that are handled in one turn of the loop."""

READ_AT_ONCE = 2**14
"""Bytes that are parsed at a time: parsed requests take many times the memory of their bytes."""

PIECE = 2**16
"""Bytes of a body that are written at a time; asyncio holds back a writer at the same size."""

LINGER = 2.0
"""Seconds that a client gets to read the last answer on a connection and close it."""

BAD_REQUEST = Answer(400)
EXPECTATION_FAILED = Answer(417, closes=True)
INTERNAL_ERROR = Answer(500, closes=True)

CONTINUES = "100-continue"
"""The one expectation that there is: https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1"""


Respond = Callable[[Request, "HttpConnection"], Exchange | None]
"""Answers a request or begins to. `None` means it is answered or has taken over the connection."""


class HttpServer:
    """Makes the connections of one port. `routes` maps paths to the functions that answer them.

    `bounds` returns the limits that apply now, `websockets` the number of connections that became
    WebSockets and are still open. `bad_request` is called with a client's address and the reason
    when it does not send HTTP, `limit_met` when a limit is met, and `fault` with the address when
    an exception is being handled that left a request unanswered. `not_found` answers requests whose
    path has no route.

    `idle` has the connections without a request, not even a part of one, and the times since
    when, the longest idle first. `handshakes` are connections whose prelude is under way, `relays`
    those whose bytes are copied to and from another process.
    """

    def __init__(
        self,
        routes: Mapping[str, Respond],
        deadlines: Deadlines,
        bounds: Callable[[], Bounds],
        websockets: Callable[[], int],
        bad_request: Callable[[str, str], None],
        limit_met: Callable[[Literal["connections", "request_timeout"], str, str], None],
        fault: Callable[[str], None],
        not_found: Respond,
    ) -> None:
        self.routes = routes
        self.deadlines = deadlines
        self.bounds = bounds
        self.websockets = websockets
        self.bad_request = bad_request
        self.limit_met = limit_met
        self.fault = fault
        self.not_found = not_found
        self.closing = CloseQueue()
        self.connections: set[HttpConnection] = set()
        self.handshakes: set[HttpConnection] = set()
        self.relays: set[object] = set()
        # No OrderedDict: every request leaves and enters it, which costs a third in a dict.
        self.idle: dict[HttpConnection, float] = {}
        self.is_leaving = False  # each answer is the last one on its connection
        self._is_armed = False  # the deadline IDLE is set

    def __call__(self) -> HttpConnection:
        return HttpConnection(self)

    @property
    def count(self) -> int:
        """The number of open connections, of every kind."""
        http = len(self.connections) + len(self.handshakes) + len(self.relays)
        return http + self.websockets()

    def has_room(self, address: str) -> bool:
        """True if one more connection may stay; the one that has been idle longest makes room."""
        if self.count < min(self.bounds().most_connections, descriptors_for_connections()):
            return True
        if not self.idle:
            self.limit_met("connections", address, "a new connection was closed: none is idle")
            return False
        idle = next(iter(self.idle))
        self.limit_met("connections", address, "the connection that was idle longest made room")
        self.forget(idle)
        idle.abort()
        return True

    def expect_rest(self, connection: HttpConnection) -> None:
        """Start the deadline for the rest of a request."""
        if not connection.is_timed:
            connection.is_timed = True
            self.deadlines.set(connection, Due.REQUEST, self.bounds().request_timeout)

    def expect_nothing(self, connection: HttpConnection) -> None:
        """Cancel that deadline: the request is complete."""
        connection.is_timed = False
        self.deadlines.cancel(connection, Due.REQUEST)

    def expect_reading(self, connection: HttpConnection) -> None:
        """Start the deadline for the client to read what was written."""
        connection.is_unread = True
        self.deadlines.set(connection, Due.UNREAD, self.bounds().keepalive_timeout)

    def expect_request(self, connection: HttpConnection) -> None:
        """Note that a connection is idle from now on."""
        self.idle[connection] = self.deadlines.clock()
        if not self._is_armed:
            self.review()

    def review(self) -> None:
        """Close connections that have been idle too long, and set the next deadline, if any."""
        timeout, now = self.bounds().keepalive_timeout, self.deadlines.clock()
        while self.idle:
            connection, since = next(iter(self.idle.items()))
            if since + timeout > now:
                break
            del self.idle[connection]
            connection.close()
            connection.cut_later(LINGER)
        self.deadlines.cancel(self, Due.IDLE)
        self._is_armed = bool(self.idle)
        if self._is_armed:
            self.deadlines.set(self, Due.IDLE, timeout, since + timeout)

    def due(self, due: int, when: float) -> None:
        self.review()

    def forget(self, connection: HttpConnection) -> None:
        """Note that a connection is gone, or is no longer HTTP."""
        self.connections.discard(connection)
        self.idle.pop(connection, None)
        connection.cut_no_more()
        if connection.is_timed or connection.is_unread:
            self.deadlines.cancel(connection)

    @property
    def is_at_rest(self) -> bool:
        """True while no request is being answered, and none is expected as the first one."""
        busy = (each for each in self.connections if each not in self.idle or each.is_timed)
        return not self.handshakes and next(busy, None) is None

    async def shutdown(self) -> None:
        """Close all connections, after the polls that were woken in this turn are answered."""
        await asyncio.sleep(0)
        for connection in tuple(self.connections):
            connection.close()


class HttpConnection(QueuedProtocol):
    """One connection. Each request is answered by one call of `answer`.

    To turn the connection into a WebSocket, call `detach` instead.
    """

    __slots__ = (
        "_body",
        "_events",
        "_exchange",
        "_is_answered",
        "_is_last",
        "_is_over",
        "_is_paused",
        "_is_reading",
        "_is_running",
        "_parser",
        "_request",
        "_rest",
        "_server",
        "_unsent",
        "is_timed",
        "is_unread",
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
        self._is_last = False  # the connection closes after the answer
        self._is_paused = False  # the client does not read fast enough
        self._unsent: memoryview | None = None  # the rest of a long body
        self.is_timed = False  # the deadline REQUEST is set
        self.is_unread = False  # the deadline UNREAD is set
        self._is_over = False  # nothing more is read here

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        server = self._server
        if self in server.handshakes:
            server.handshakes.discard(self)
        elif not server.has_room(self.address):
            self._is_over = True
            self.abort()
            return
        server.connections.add(self)
        server.expect_rest(self)
        server.expect_request(self)

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
        self._is_over = True
        self._server.forget(self)

    def pause_writing(self) -> None:
        self._is_paused = True
        self._server.expect_reading(self)

    def resume_writing(self) -> None:
        self._is_paused = self.is_unread = False
        self._server.deadlines.cancel(self, Due.UNREAD)
        if self._is_answered:
            self._written()

    def due(self, due: int, when: float) -> None:
        """Close the connection if the deadline that has passed was not met."""
        if due == Due.UNREAD:
            self.abort()
            return
        self._server.limit_met("request_timeout", self.address, "no complete request arrived")
        self.close()
        self.cut_later(LINGER)

    # Called to answer

    def answer(self, answer: Answer) -> None:
        """Write the answer to the request, then call `written` of its exchange.

        If the client does not read, `written` is called once it reads again. A long body is written
        in pieces, so that clients who do not read share one in memory.
        """
        request = self._request
        if request is None or self._is_over or self._transport.is_closing():
            return
        keeps = request.keeps_alive and not answer.closes and not self._server.is_leaving
        has_body = request.method != "HEAD"
        if has_body and len(answer.body) > PIECE:
            has_body, self._unsent = False, memoryview(answer.body)
        self._transport.write(encode(answer, keeps_alive=keeps, has_body=has_body))
        self._is_answered, self._is_last = True, not keeps
        if not self._is_paused:
            self._written()

    def detach(self) -> tuple[asyncio.Transport, bytes] | None:
        """Hand over the transport, with the bytes that came after the request.

        Returns `None` if the connection is gone.
        """
        if self._transport.is_closing():
            return None
        tail = (self._parser.tail if self._parser is not None else None) or b""
        if len(self._rest) > WAITING:
            self._transport.resume_reading()
        self._is_over = True
        self._server.forget(self)
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
            self._server.idle.pop(self, None)
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
        server = self._server
        server.idle.pop(self, None)
        if self.is_timed:
            server.expect_nothing(self)
        self._request, self._is_reading = request, request.body is None
        respond = server.routes.get(request.path, server.not_found)
        expected = request.headers.get("expect") if request.body is None else None
        if expected and expected.lower() != CONTINUES:
            self.answer(EXPECTATION_FAILED)
            return
        try:
            exchange = respond(request, self)
            if exchange is None:
                return
            self._exchange = exchange
            if request.body is None:
                self._await_body(request, exchange)
            else:
                exchange.finish(request.body)
        except Exception:
            self._fault()

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
            try:
                self._exchange.finish(bytes(body))
            except Exception:
                self._fault()
        elif self._is_answered and not self._is_paused:
            self._finish()

    def _fault(self) -> None:
        """Answer a request that met a fault in the gateway itself, and close the connection."""
        self._server.fault(self.address)
        exchange, self._exchange = self._exchange, None
        if self._is_over or self._is_answered:
            self.abort()
        else:
            self.answer(INTERNAL_ERROR)
        if exchange is not None:
            exchange.lost()

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
        while self._unsent is not None:
            if self._transport.is_closing():
                return
            self._transport.write(self._unsent[:PIECE])
            self._unsent = self._unsent[PIECE:] or None
            if self._is_paused:
                return
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.written()
        if self._is_last:
            self._close()
        elif self._is_reading:
            self._body = None
            self._server.expect_rest(self)
        else:
            self._finish()

    def _finish(self) -> None:
        """End the request and go on to the next."""
        self._request, self._is_answered = None, False
        server = self._server
        if self.is_timed:
            server.expect_nothing(self)
        if self._parser is None or self._parser.is_between:
            server.expect_request(self)
        else:
            server.expect_rest(self)
        if self._events or self._rest:
            self._run()

    def _close(self) -> None:
        """Close the connection after the last answer."""
        self._is_over = True
        self._exchange = None
        if self._is_reading and self._transport.can_write_eof():
            self.linger(LINGER)
        else:
            self._transport.close()
            if self._transport.get_write_buffer_size():
                self._server.expect_reading(self)
