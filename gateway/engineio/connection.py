"""The connections of HTTP clients: plain requests are answered here, all else by aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from aiohttp import hdrs, web

from gateway.engineio.deadlines import Due
from gateway.engineio.direct import Answer, DirectPoll, DirectPost
from gateway.engineio.engine import ENGINE, Engine
from gateway.engineio.exit import Leaver
from gateway.engineio.handler import Handler
from gateway.engineio.handover import detach
from gateway.engineio.head import Head, read
from gateway.engineio.refusal import verify
from gateway.engineio.session import Session

__all__ = ["Runner"]

REST = 2**16
"""Bytes behind a request under way at which the connection is no longer read from."""

KEEPALIVE = 3630.0
"""Seconds that a connection may be silent: aiohttp's own, longer than any proxy's.

It is looked at as often, so a silent one is closed after twice as much at most.
"""


class Runner(web.AppRunner):
    """Runs an application that an engine is attached to.

    The application's own middlewares and signals do not see requests to the engine's path.
    """

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        engine = self.app.get(ENGINE)
        if engine is None:
            return made
        return _Server(engine, made, **self._kwargs)


class _Server(web.Server):
    """Makes the connections of one listener.

    `lines` are those which aiohttp does not know.
    """

    def __init__(self, engine: Engine, like: web.Server, **options: Any) -> None:
        super().__init__(self._handle, request_factory=like.request_factory, **options)
        self._application = like.request_handler
        self._engine = engine
        self.keepalive: float = options.get("keepalive_timeout", KEEPALIVE)
        self.lines: set[_Connection] = set()

    def __call__(self) -> _Connection:  # type: ignore[override]
        return _Connection(self._engine, self)

    def handler(self) -> web.RequestHandler:
        """What answers the requests of one connection that are not plain."""
        handler = Handler(self, loop=asyncio.get_running_loop(), **self._kwargs)
        handler.violations = self._engine.violations
        return handler

    async def shutdown(self, timeout: float | None = None) -> None:
        await asyncio.sleep(0)  # polls that the engine's end has woken are answered in this turn
        for line in self.lines:
            line.close()
        await super().shutdown(timeout)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Spare a request for the engine the application's search for its route."""
        if request.path != self._engine.path or hdrs.EXPECT in request.headers:
            return await self._application(request)
        assert isinstance(request, web.Request)
        return await self._engine.handle_request(request)


class _Connection(Leaver):
    """One connection. What is no plain request is aiohttp's, whose handler is made for the first
    of these, and so is all that comes after bytes that are not one whole plain request.
    """

    __slots__ = (
        "_answer",
        "_engine",
        "_handler",
        "_is_paused",
        "_is_plain",
        "_is_waited_for",
        "_rest",
        "_server",
        "_was_used",
    )

    def __init__(self, engine: Engine, server: _Server) -> None:
        super().__init__(engine.exit)
        self._engine, self._server = engine, server
        self._handler: web.RequestHandler | None = None
        self._is_plain = True  # all that came so far were whole requests, each in one read
        self._is_waited_for = True  # the head of a request, and not for ever
        self._is_paused = False  # writing
        self._was_used = False  # since it was last looked whether the connection is idle
        self._answer: Answer | None = None
        self._rest = b""  # what came while there was one

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # which uvloop's do not inherit
        self._server.lines.add(self)
        self._engine.deadlines.set(self, Due.HEAD, self._engine.limits.request_timeout)

    def data_received(self, data: bytes) -> None:
        if self._answer is not None:
            self._rest += data
            if len(self._rest) > REST:
                self._transport.pause_reading()
            return
        head = read(data) if self._is_plain else None
        if head is None:
            self._is_plain = False
        elif self._is_idle() and self._take(head):
            return
        self._by_aiohttp(data)

    def leave(self, error: Exception | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.lost()
        self._let_go()
        if self._handler is not None:
            self._handler.connection_lost(error)

    def close(self) -> None:
        """The server shuts down."""
        self._transport.close()

    def due(self, due: Due, when: float) -> None:
        if due is Due.HEAD:
            self._engine.limits_met.record(
                "request_timeout", self._address(), "no whole request came"
            )
            self._transport.close()
        elif self._answer is None and not self._was_used:
            self._transport.close()
        else:
            self._was_used = False
            self._engine.deadlines.set(self, Due.IDLE, self._server.keepalive)

    def pause_writing(self) -> None:
        self._is_paused = True
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._handler is not None:
            self._handler.resume_writing()
        if self._answer is not None:
            self._written()

    def _by_aiohttp(self, data: bytes) -> None:
        handler = self._handler
        if handler is None:
            self._let_go()
            handler = self._handler = self._server.handler()
            handler.connection_made(self._transport)
            if self._is_paused:
                handler.pause_writing()
        handler.data_received(data)
        # aiohttp would wait for the rest of a head for ever.
        waits = not handler._messages and handler._current_request is None
        if waits and not self._is_waited_for:
            self._engine.deadlines.set(self, Due.HEAD, self._engine.limits.request_timeout)
        elif self._is_waited_for and not waits:
            self._engine.deadlines.cancel(self, Due.HEAD)
        self._is_waited_for = waits

    def _let_go(self) -> None:
        """There is a handler that looks after the connection, or no connection."""
        self._server.lines.discard(self)
        self._is_waited_for = False
        self._engine.deadlines.cancel(self, Due.HEAD, Due.IDLE)

    def _is_idle(self) -> bool:
        """Whether aiohttp, if it knows the connection, waits for a request on it."""
        if self._handler is None:
            return True
        waiter = self._handler._waiter
        return waiter is not None and not waiter.done()

    def _take(self, head: Head) -> bool:
        """Answer a request, or have begun to; false if it is not for the engine's short cut.

        The order of the questions is that of `Engine.handle_request`.
        """
        engine = self._engine
        if head.path != engine.path:
            return False
        origin, host = head.headers.get("origin"), head.headers["host"]
        scheme = "https" if origin and self._is_secure() else "http"
        headers = engine.cors.headers(origin, scheme, host)
        if headers is None:
            return False
        session = engine.find(head)
        if verify(head, session, engine.settings) is not None:
            return False
        if head.query["transport"] == "websocket":
            return self._become_websocket(session, head, headers)
        if session is None or session.settings.compression or head.key is not None:
            return False
        if len(head.body) > session.settings.max_payload:
            return False
        self._poll(session, head, headers)
        return True

    def _is_secure(self) -> bool:
        return self._transport.get_extra_info("sslcontext") is not None

    def _address(self) -> str:
        peer = self._transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else peer or ""

    def _become_websocket(
        self, session: Session | None, head: Head, headers: Mapping[str, str]
    ) -> bool:
        if session is None:
            session = self._engine.open(head, self._address(), secure=self._is_secure())
            if session is None:
                return False
        if self._handler is None:
            self._let_go()
        else:
            detach(self._handler)
        self._engine.carry(session, self._transport, head, headers)
        return True

    def _poll(self, session: Session, head: Head, headers: Mapping[str, str]) -> None:
        if self._is_waited_for:
            self._is_waited_for = False
            self._engine.deadlines.cancel(self, Due.HEAD)
            if self._handler is None:
                self._engine.deadlines.set(self, Due.IDLE, self._server.keepalive)
        # aiohttp's limit for connections on which nothing comes; a poll may wait for longer.
        if self._handler is not None:
            settings = session.settings
            limit = max(self._server.keepalive, settings.ping_interval + settings.ping_timeout)
            self._handler._next_keepalive_close_time = asyncio.get_running_loop().time() + limit
        if head.method == "GET":
            self._answer = poll = DirectPoll(session, self, headers)
            poll.begin()
        else:
            self._answer = post = DirectPost(session, self, headers)
            post.begin(head.body)

    # The line of an answer.

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)
            if not self._is_paused:
                self._written()

    def abort(self) -> None:
        self._transport.abort()

    def _written(self) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None
        answer.written()
        self._was_used = True
        rest, self._rest = self._rest, b""
        if rest:
            if len(rest) > REST:
                self._transport.resume_reading()
            self.data_received(rest)
