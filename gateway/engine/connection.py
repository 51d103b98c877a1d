"""The connections of HTTP clients: aiohttp's, with a short cut for polls, and an orderly exit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.engine.direct import Answer, DirectPoll, DirectPost
from gateway.engine.head import Head, read
from gateway.engine.server import ENGINE, Engine
from gateway.engine.session import Session

__all__ = ["Runner"]

LEAVING_AT_ONCE = 64
"""Connections that are seen off in one turn of the loop."""

REST = 2**16
"""Bytes behind a request under way at which the connection is no longer read from."""


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
    """Makes the connections of one listener."""

    def __init__(self, engine: Engine, like: web.Server, **options: Any) -> None:
        super().__init__(self._handle, request_factory=like.request_factory, **options)
        self._application = like.request_handler
        self._engine = engine
        self._exit = _Exit()

    def __call__(self) -> web.RequestHandler:
        loop = asyncio.get_running_loop()
        return _Connection(self._engine, self._exit, self, loop=loop, **self._kwargs)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Spare a request for the engine the application's search for its route."""
        if request.path != self._engine.path or hdrs.EXPECT in request.headers:
            return await self._application(request)
        assert isinstance(request, web.Request)
        return await self._engine.handle_request(request)


class _Exit:
    """Connections that are lost wait here for their turn.

    Of thousands that go at once each takes its session, its sockets and their chains along. All
    in one turn of the loop would be a stall for everybody else.
    """

    def __init__(self) -> None:
        self._queue: deque[Callable[[], None]] = deque()

    def add(self, leave: Callable[[], None]) -> None:
        if not self._queue:
            asyncio.get_running_loop().call_soon(self._see_off)
        self._queue.append(leave)

    def _see_off(self) -> None:
        for _ in range(min(LEAVING_AT_ONCE, len(self._queue))):
            self._queue.popleft()()
        if self._queue:
            asyncio.get_running_loop().call_soon(self._see_off)


class _Connection(web.RequestHandler):
    """One connection. What is not a plain poll is aiohttp's, and so is all that comes after bytes
    that are not one whole plain request.
    """

    __slots__ = (
        "_answer",
        "_engine",
        "_exit",
        "_handed_over",
        "_is_called",
        "_plain",
        "_rest",
        "flow",
    )

    def __init__(self, engine: Engine, exit: _Exit, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._engine, self._exit = engine, exit
        self._plain = True  # all that came so far were whole requests, each in one read
        self._handed_over = False
        self._is_called = False  # by the exit
        self._answer: Answer | None = None
        self._rest = b""  # what came while there was one
        self.flow: Callable[[bool], None] | None = None

    def data_received(self, data: bytes) -> None:
        if self._answer is not None:
            self._rest += data
            if len(self._rest) > REST and self.transport is not None:
                self.transport.pause_reading()
            return
        head = read(data) if self._plain else None
        if head is None:
            self._plain = False
        elif self._is_idle() and self._take(head):
            return
        self._handed_over = True
        super().data_received(data)

    def _is_idle(self) -> bool:
        """Whether aiohttp waits for a request, having answered those that it was given."""
        waiter = self._waiter
        return not self._handed_over or (waiter is not None and not waiter.done())

    def _take(self, head: Head) -> bool:
        """Answer a request, or have begun to; false if it is not for the engine's short cut."""
        session = _session(self._engine, head)
        if session is None:
            return False
        origin, host = head.headers.get("origin"), head.headers["host"]
        headers = self._engine.cors.headers(origin, "https" if self.ssl_context else "http", host)
        if headers is None:
            return False
        # aiohttp's limit for connections on which nothing comes; a poll may wait for longer.
        settings = session.settings
        limit = max(self.keepalive_timeout, settings.ping_interval + settings.ping_timeout)
        self._next_keepalive_close_time = self._loop.time() + limit
        if head.method == "GET":
            self._answer = poll = DirectPoll(session, self, headers)
            poll.begin()
        else:
            self._answer = post = DirectPost(session, self, headers)
            post.begin(head.body)
        return True

    def eof_received(self) -> bool | None:  # type: ignore[override]
        if self.ssl_context is not None:  # TLS cannot be half closed
            return None
        self._is_called = True
        self._exit.add(self._close_transport)
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._is_called:
            self._leave(exc)
        else:
            self._exit.add(partial(self._leave, exc))

    def _close_transport(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def _leave(self, error: BaseException | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.lost()
        super().connection_lost(error)

    # What is no fault of ours is answered and counted: aiohttp logs a traceback for each.

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        self._engine.offences.saw("http", request.remote or "", type(exc).__name__)
        response = web.Response(status=status)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **facts: Any) -> None:
        error = facts.get("exc_info")
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            self._engine.offences.saw("http", "a client", type(error).__name__)
        else:
            super().log_exception(*args, **facts)

    # The line of an answer.

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)
            if not self.writing_paused:
                self._written()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.flow is not None:
            self.flow(False)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.flow is not None:
            self.flow(True)
        if self._answer is not None:
            self._written()

    def _written(self) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None
        answer.written()
        rest, self._rest = self._rest, b""
        if rest:
            if len(rest) > REST and self.transport is not None:
                self.transport.resume_reading()
            self.data_received(rest)


def _session(engine: Engine, head: Head) -> Session | None:
    """The session that polls, `None` where there is more to say to a request."""
    if head.path != engine.path:
        return None
    engine.deadlines.expire()
    query = head.query
    session = engine.sessions.get(query.get("sid", ""))
    if session is None or session.transport != "polling" or session.settings.compression:
        return None
    if query.get("transport") != "polling" or query.get("EIO") != "4":
        return None
    return session if len(head.body) <= session.settings.max_payload else None
