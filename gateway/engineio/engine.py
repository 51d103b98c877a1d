"""The engine: the table of sessions, and the answer to every request to its path."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping

from aiohttp import hdrs, web

from gateway.engineio.admission import Admission
from gateway.engineio.carrier import CLOSE_LIMIT, Receiver
from gateway.engineio.cors import Cors, preflight
from gateway.engineio.deadlines import Deadlines
from gateway.engineio.exit import Exit
from gateway.engineio.handover import detach
from gateway.engineio.head import Head
from gateway.engineio.opening import Opening, head_of, opening
from gateway.engineio.polling import answer_poll, answer_post
from gateway.engineio.refusal import HINT, Refusal, refuse, verify
from gateway.engineio.response import switching
from gateway.engineio.session import Session
from gateway.engineio.settings import Settings, Transport
from gateway.engineio.violations import VIOLATIONS, EventCounter, Violation
from gateway.engineio.websocket import WebSocketCarrier
from gateway.limits import LIMIT_NAMES, LimitName, Limits

__all__ = ["ENGINE", "Connect", "Engine"]

LOG = logging.getLogger("sockgw.engine")
WARNED_ADDRESSES = 1000  # remembered

LATER: Mapping[str, str] = {hdrs.RETRY_AFTER: "1"}
"""Seconds, for who is refused and may try again."""

Connect = Callable[[Session, Opening], Receiver]
"""Makes the receiver of a session that is about to be accepted."""

ENGINE: web.AppKey[Engine] = web.AppKey("engine")
"""Where an application has the engine that is attached to it."""


class Engine:
    """An Engine.IO v4 server: the sessions by their ids, and their WebSockets.

    `connect` makes the receiver of each new session. `is_overloaded` says whether the process has
    too much to do to take new ones. While `accepting` is false nobody new is let in.
    """

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        connect: Connect,
        is_overloaded: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings, self.limits = settings, limits
        self.cors = Cors(settings.cors_origins)
        self.deadlines = Deadlines(time.monotonic, self._arm)
        self.violations: EventCounter[Violation] = EventCounter("violation", VIOLATIONS)
        self.limits_met: EventCounter[LimitName] = EventCounter("limit", LIMIT_NAMES)
        self.admission = Admission(time.monotonic, is_overloaded)
        self.exit = Exit()
        self.sessions: dict[str, Session] = {}
        self.websockets: set[WebSocketCarrier] = set()
        self.accepting = True
        self._connect = connect
        self._all_gone: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._warned: set[str] = set()

    def configure(self, settings: Settings, limits: Limits) -> None:
        """Apply new settings and limits.

        Limits and CORS hold for everybody at once; sessions that are open keep the other settings.
        """
        self.settings, self.limits = settings, limits
        self.cors = Cors(settings.cors_origins)
        for session in self.sessions.values():
            session.receiver.limit(limits)

    def attach(self, app: web.Application, path: str = "engine.io") -> None:
        """Answer every request to a path of the application, and shut down with it."""
        self.path = f"/{path.strip('/')}/"
        app[ENGINE] = self
        app.router.add_route("*", self.path, self.handle_request)
        app.on_shutdown.append(lambda _: self.shutdown())

    async def shutdown(self) -> None:
        """End all sessions, take no more, and wait until their WebSockets are closed."""
        self.accepting = False
        for session in list(self.sessions.values()):
            session.end("server shutting down")
        if self.websockets:
            await asyncio.wait([self.all_gone()], timeout=2 * CLOSE_LIMIT)

    def generate_id(self) -> str:
        """An id that nobody can guess."""
        return secrets.token_urlsafe(15)

    def all_gone(self) -> asyncio.Future[None]:
        """Done when the last WebSocket, of which there is one yet, is gone."""
        self._all_gone = asyncio.get_running_loop().create_future()
        return self._all_gone

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
        if not self.accepting or self.admission.limit(address, self.limits) is not None:
            return None
        session = self._new(head, address)
        self._begin(session, opening(head, address, secure=secure))
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
        self.websockets.add(websocket)
        websocket.open(answer, tail)

    def _refuse(
        self, refusal: Refusal, request: web.Request, headers: Mapping[str, str]
    ) -> web.Response:
        if refusal is Refusal.UNSUPPORTED_VERSION:
            self._warn_of_version(request)
        self.violations.record(refusal.kind, request.remote or "", f"a {request.method} request")
        return refuse(refusal, headers)

    def _warn_of_version(self, request: web.Request) -> None:
        address = request.remote or ""
        if address not in self._warned and len(self._warned) < WARNED_ADDRESSES:
            self._warned.add(address)
            LOG.warning("refused %s: %s", address, HINT)

    def _new(self, head: Head, address: str) -> Session:
        """A session to be opened as a request asks."""
        transport: Transport = "polling"
        if head.query["transport"] == "websocket":
            transport = "websocket"
        session = Session(self.generate_id(), transport, self, address)
        self.sessions[session.id] = session
        self.admission.entered(address)
        return session

    def _begin(self, session: Session, facts: Opening) -> None:
        accepted = False
        try:
            accepted = session.accept(self._connect(session, facts))
        finally:
            if not accepted:
                session.end("transport close")

    async def _handshake(
        self, request: web.Request, head: Head, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        address = request.remote or ""
        limit = self.admission.limit(address, self.limits)
        if limit is not None:
            self.limits_met.record(limit, address, "a connection is refused")
        if limit is not None or not self.accepting:
            return web.Response(status=503, headers={**headers, **LATER})
        session = self._new(head, address)
        self._begin(session, opening(head, address, secure=request.secure))
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

    # What WebSockets and sessions call.

    def gone(self, websocket: WebSocketCarrier) -> None:
        self.websockets.discard(websocket)
        if self._all_gone is not None and not self.websockets and not self._all_gone.done():
            self._all_gone.set_result(None)

    def forget(self, session: Session) -> None:
        if self.sessions.pop(session.id, None) is not None:
            self.admission.left(session.address)

    def _arm(self, when: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when is not None:
            delay = max(0.0, when - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self.deadlines.run)
