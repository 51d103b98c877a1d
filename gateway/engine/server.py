"""The engine: where requests meet sessions, and python-socketio meets both."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from aiohttp import hdrs, web

from gateway.engine.carrier import CLOSE_LIMIT, Reason
from gateway.engine.cors import Cors, preflight
from gateway.engine.deadlines import Deadlines
from gateway.engine.environ import environ
from gateway.engine.exit import Exit
from gateway.engine.handover import detach
from gateway.engine.head import Head
from gateway.engine.offence import Offences
from gateway.engine.opening import Opening, head_of, opening
from gateway.engine.packet import Message
from gateway.engine.polling import answer_poll, answer_post
from gateway.engine.refusal import HINT, Refusal, refuse, verify
from gateway.engine.response import switching
from gateway.engine.session import Session
from gateway.engine.settings import Settings, Transport
from gateway.engine.websocket import WebSocketCarrier

__all__ = ["ENGINE", "Engine", "EnginePacket", "Handler"]

LOG = logging.getLogger("sockgw.engine")
WARNED_ADDRESSES = 1000  # remembered

Handler = Callable[..., Awaitable[object]]
"""What python-socketio registers: `connect(sid, environ)`, `message(sid, data)`,
`disconnect(sid, reason)`."""

OnConnect = Callable[[Session, Opening], None]


class EnginePacket(Protocol):
    """An `engineio.packet.Packet` of the type MESSAGE."""

    data: Message


ENGINE: web.AppKey[Engine] = web.AppKey("engine")
"""Where an application has the engine that is attached to it."""


class Engine:
    """An Engine.IO v4 server for aiohttp, in the place of `engineio.AsyncServer`.

    The options are those of `Settings`; `async_handlers`, `json` and `logger` are what
    python-socketio adds, and mean nothing here. The web server is to cancel the handler of a
    client that goes away (`web.AppRunner(handler_cancellation=True)`): an engine whose polls go
    on waiting for clients that are gone loses what it tells them.

    Three callables say what happens; whoever sets them is spared python-socketio's coroutines:
    `on_connect` is told of a session that is about to be accepted, `on_message` takes a message
    and returns what the next one has to wait for, `on_disconnect` is called once for a session
    that was accepted.
    """

    async_mode = "aiohttp"

    def __init__(
        self,
        *,
        async_handlers: bool = False,
        json: object = None,
        logger: object = None,
        **settings: Any,
    ) -> None:
        self.configure(Settings(**settings))
        self.deadlines = Deadlines(time.monotonic, self._arm)
        self.offences = Offences()
        self.sessions: dict[str, Session] = {}
        self.on_connect: OnConnect | None = None
        self.on_message: Callable[[Session, Message], Awaitable[None] | None] = self._message
        self.on_disconnect: Callable[[Session, Reason], None] = self._disconnect
        self._handlers: dict[str, Handler] = {}
        self._leaving: dict[str, Session] = {}  # while python-socketio is told
        # What a shutdown waits for, and has been told the end of.
        self._tasks: set[asyncio.Task[object]] = set()
        self._websockets: set[WebSocketCarrier] = set()
        self._closing: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.accepting = True  # new sessions
        self.exit = Exit()
        self._warned: set[str] = set()

    def configure(self, settings: Settings) -> None:
        """Set the engine to `settings`: sessions that are open keep theirs, CORS is for all."""
        self.settings = settings
        self.cors = Cors(settings.cors_origins)

    # What python-socketio calls.

    def attach(self, app: web.Application, path: str = "engine.io") -> None:
        """Answer every request to a path of the application, and shut down with it."""
        self.path = f"/{path.strip('/')}/"
        app[ENGINE] = self
        app.router.add_route("*", self.path, self.handle_request)
        app.on_shutdown.append(lambda _: self.shutdown())

    def on(self, event: str, handler: Handler) -> None:
        """Register python-socketio's handler for `connect`, `message` or `disconnect`."""
        self._handlers[event] = handler

    async def send(self, sid: str, data: Message) -> None:
        """Send a message; to a session that is gone it is dropped."""
        if (session := self.sessions.get(sid)) is not None:
            if isinstance(data, str):
                session.send_text(data)
            else:
                session.send_bytes(data)

    async def send_packet(self, sid: str, packet: EnginePacket) -> None:
        """Send what is in a packet, the one kind there is for python-socketio: a message."""
        await self.send(sid, packet.data)

    async def disconnect(self, sid: str) -> None:
        """Close a session, in order; one that is gone is no error."""
        if (session := self.sessions.get(sid)) is not None:
            session.close()

    async def get_session(self, sid: str) -> dict[str, object]:
        """The dict that python-socketio keeps with a session. Raises `KeyError` for none."""
        store = self._find(sid).owner
        assert isinstance(store, dict), "the session has another owner"
        return store

    def transport(self, sid: str) -> Transport:
        """The transport of a session at the moment. Raises `KeyError` for none."""
        return self._find(sid).transport

    def generate_id(self) -> str:
        """An id that nobody can guess."""
        return secrets.token_urlsafe(15)

    def create_event(self) -> asyncio.Event:
        return asyncio.Event()

    def start_background_task(
        self, target: Callable[..., Coroutine[object, object, object]], *args: object
    ) -> asyncio.Task[object]:
        return asyncio.create_task(target(*args))

    async def sleep(self, seconds: float = 0) -> None:
        await asyncio.sleep(seconds)

    async def shutdown(self) -> None:
        """End all sessions, take no more, and wait until their WebSockets are closed."""
        self.accepting = False
        for session in list(self.sessions.values()):
            session.end("server shutting down")
        ends: set[asyncio.Future[Any]] = {*self._tasks}
        if self._websockets:
            self._closing = asyncio.get_running_loop().create_future()
            ends.add(self._closing)
        if ends:
            await asyncio.wait(ends, timeout=2 * CLOSE_LIMIT)

    # Requests.

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """Answer a request: a handshake, a poll, a POST or an upgrade."""
        host = request.headers.get(hdrs.HOST)  # aiohttp's would ask the name service, and block
        headers = self.cors.headers(request.headers.get(hdrs.ORIGIN), request.scheme, host)
        if headers is None:
            return self._refuse(Refusal.FORBIDDEN, request, {})
        if request.method == hdrs.METH_OPTIONS:
            return preflight(request, headers)
        head = head_of(request)
        session = self.find(head)
        refusal = verify(head, session, self.settings)
        if refusal is not None:
            return self._refuse(refusal, request, headers)
        if session is None:
            return await self._handshake(request, head, headers)
        if head.query["transport"] == "websocket":
            self._take_over(session, request, head, headers)
            return web.Response()
        answer = answer_poll if request.method == hdrs.METH_GET else answer_post
        return await answer(session, request, headers)

    def find(self, head: Head) -> Session | None:
        """The session that a request names, if its time is not up."""
        self.deadlines.expire()
        return self.sessions.get(head.query.get("sid", ""))

    def open(self, head: Head, address: str, *, secure: bool) -> Session | None:
        """Open a session on a WebSocket; `None` leaves the request to `handle_request`."""
        if self.on_connect is None or (session := self._new(head)) is None:
            return None
        self._begin(session, self.on_connect, opening(head, address, secure=secure))
        return session

    def carry(
        self,
        session: Session,
        transport: asyncio.Transport,
        head: Head,
        headers: Mapping[str, str],
        tail: bytes = b"",
    ) -> None:
        """Answer a request for a WebSocket, and let that carry the session.

        `headers` are those that CORS asks for, `tail` is what came behind the request.
        """
        answer, bits = switching(head, headers, compress=session.settings.compression)
        websocket = WebSocketCarrier(session, transport, self, bits)
        self._websockets.add(websocket)
        websocket.open(answer, tail)

    def _refuse(
        self, refusal: Refusal, request: web.Request, headers: Mapping[str, str]
    ) -> web.Response:
        if refusal is Refusal.UNSUPPORTED_VERSION:
            self._warn_of_version(request)
        self.offences.saw(refusal.kind, request.remote or "", f"a {request.method} request")
        return refuse(refusal, headers)

    def _warn_of_version(self, request: web.Request) -> None:
        address = request.remote or ""
        if address not in self._warned and len(self._warned) < WARNED_ADDRESSES:
            self._warned.add(address)
            LOG.warning("refused %s: %s", address, HINT)

    def _new(self, head: Head) -> Session | None:
        """A session to be opened as a request asks; `None` if none may be opened now."""
        if not self.accepting:
            return None
        transport: Transport = "polling"
        if head.query["transport"] == "websocket":
            transport = "websocket"
        session = Session(self.generate_id(), transport, self)
        self.sessions[session.id] = session
        return session

    def _begin(self, session: Session, on_connect: OnConnect, facts: Opening) -> None:
        accepted = False
        try:
            on_connect(session, facts)
            accepted = session.accept()
        finally:
            if not accepted:
                session.end("transport close")

    async def _handshake(
        self, request: web.Request, head: Head, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        session = self._new(head)
        if session is None:
            return web.Response(status=503, headers=headers)
        if self.on_connect is not None:
            facts = opening(head, request.remote or "", secure=request.secure)
            self._begin(session, self.on_connect, facts)
        elif not await self._connect(session, request):
            return refuse(Refusal.FORBIDDEN, headers)
        if session.transport == "polling":
            return await answer_poll(session, request, headers)
        if not self._take_over(session, request, head, headers):
            session.end("transport close")
        return web.Response()

    def _take_over(
        self, session: Session, request: web.Request, head: Head, headers: Mapping[str, str]
    ) -> bool:
        """Make a WebSocket of the connection that a request came on; false if it is gone."""
        line = detach(request.protocol)
        if line is None:
            return False
        transport, tail = line
        self.carry(session, transport, head, headers, tail)
        return True

    # What WebSockets call.

    def gone(self, websocket: WebSocketCarrier) -> None:
        self._websockets.discard(websocket)
        if self._closing is not None and not self._websockets and not self._closing.done():
            self._closing.set_result(None)

    # What sessions call.

    def message(self, session: Session, message: Message) -> Awaitable[None] | None:
        try:
            return self.on_message(session, message)
        except Exception:
            LOG.exception("on_message failed")
            return None

    def closed(self, session: Session, reason: Reason) -> None:
        try:
            self.on_disconnect(session, reason)
        except Exception:
            LOG.exception("on_disconnect failed")

    def forget(self, session: Session) -> None:
        self.sessions.pop(session.id, None)

    def _arm(self, when: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when is not None:
            delay = max(0.0, when - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self.deadlines.run)

    # What python-socketio is told, when nobody else is.

    async def _connect(self, session: Session, request: web.Request) -> bool:
        session.owner = {}
        accepted = False
        try:
            told = await self._tell("connect", session.id, environ(request))
            accepted = told is not False and session.accept()
        finally:
            if not accepted:
                session.end("transport close")
        return accepted

    async def _message(self, session: Session, message: Message) -> None:
        await self._tell("message", session.id, message)

    def _disconnect(self, session: Session, reason: Reason) -> None:
        self._leaving[session.id] = session
        task = asyncio.create_task(self._tell("disconnect", session.id, reason))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._leaving.pop(session.id, None))

    async def _tell(self, event: str, *facts: object) -> object:
        handler = self._handlers.get(event)
        try:
            return None if handler is None else await handler(*facts)
        except Exception:
            LOG.exception("the %s handler failed", event)
            return False

    def _find(self, sid: str) -> Session:
        return self.sessions.get(sid) or self._leaving[sid]
