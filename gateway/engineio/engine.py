"""The engine: the table of sessions, and the answer to every request to its path."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from gateway.engineio.handshake import Gate, HandshakeExchange
from gateway.engineio.polling import PollExchange, PostExchange
from gateway.engineio.receiver import Receiver
from gateway.engineio.refusals import NO_SERVER, Refusal, busy, cause_of, refuse, verify
from gateway.engineio.session import Session, new_id
from gateway.engineio.settings import Settings, Transport
from gateway.engineio.transports import CLOSE_LIMIT
from gateway.engineio.violations import (
    FAULTS,
    VIOLATIONS,
    EventCounter,
    Fault,
    RefusalCounter,
    Violation,
)
from gateway.engineio.websocket import WebSocketCarrier
from gateway.http.addresses import AddressCounts
from gateway.http.connection import HttpServer
from gateway.http.cors import Cors, preflight
from gateway.http.deadlines import Deadlines
from gateway.http.descriptors import descriptors_for_connections
from gateway.http.exchange import Connection, Exchange
from gateway.http.proxies import Peer, Sender, TrustedProxies
from gateway.http.request import Request
from gateway.http.response import NOT_FOUND
from gateway.http.static import Static
from gateway.http.switching import switch_to_websocket, websocket_key
from gateway.limits import LIMIT_NAMES, LimitName, Limits, TokenBucket

__all__ = ["Admission", "Connect", "Engine", "Forward"]

LOG = logging.getLogger("sockgw.engine")

RAISE = "to allow it, raise limits.{}"
"""The cure for a limit that was met."""

RAISE_DESCRIPTORS = (
    "to allow it, raise the limit of file descriptors with ulimit -n, or LimitNOFILE= of systemd"
)

NO_DATA: Mapping[str, object] = {}

Connect = Callable[[Session, Request, Mapping[str, object]], Receiver]
"""Makes the receiver of a session that is being opened.

It gets the request that opens the session, and what the gate has to say of its client.
"""

Forward = Callable[[Request, Connection, str], Exchange | None]
"""Has a request answered elsewhere, or begins to; the text is header fields for refusals."""


class Engine:
    """An Engine.IO v4 server: its sessions by id, and its WebSockets.

    `connect` makes the receiver of each new session. `is_overloaded` returns true while the
    process is too busy for new sessions. `find_gate` returns the gate that a handshake has to
    pass before its session opens; `None` for none. While `accepting` is false, none is opened.

    Beside other members, every id begins with the `tag` of this one. `find_owner` returns what
    answers the requests of a session that another member has, by its id; `None` if none has it.
    """

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        connect: Connect,
        is_overloaded: Callable[[], bool] = lambda: False,
        find_gate: Callable[[], Gate | None] = lambda: None,
    ) -> None:
        self.settings, self.limits = settings, limits
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self.cors = Cors(settings.cors_origins, self.proxies)
        self.deadlines = Deadlines(time.monotonic, self._arm)
        self.violations: EventCounter[Violation] = EventCounter("violation", VIOLATIONS)
        self.limits_met: EventCounter[LimitName] = EventCounter("limit", LIMIT_NAMES, cure=RAISE)
        self.refused = RefusalCounter()
        self.admission = Admission(time.monotonic, is_overloaded)
        self.faults: EventCounter[Fault] = EventCounter("fault", FAULTS, level=logging.ERROR)
        self.sessions: dict[str, Session] = {}
        self.websockets: set[WebSocketCarrier] = set()
        self.accepting = True
        self.find_gate = find_gate
        self.tag = ""
        self.find_owner: Callable[[str], Forward | None] = lambda sid: None
        self._connect = connect
        self._server: HttpServer | None = None
        self._all_gone: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def configure(self, settings: Settings, limits: Limits) -> None:
        """Apply new settings and limits.

        Limits, CORS and trusted proxies apply to all requests at once; open sessions keep their
        other settings.
        """
        self.settings, self.limits = settings, limits
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self.cors = Cors(settings.cors_origins, self.proxies)
        for session in self.sessions.values():
            session.receiver.limit(limits)
        if self._server is not None:
            self._server.review()

    def http_server(self, path: str, static: Static | None = None) -> HttpServer:
        """Make the HTTP server whose requests to `path`, which ends in a slash, are answered here.

        `static` has the pages of all other paths; what it has not is 404.
        The slash may be missing: Socket.IO's clients leave it out if `addTrailingSlash` is false.
        """
        server = HttpServer(
            {path: self.respond, path.rstrip("/") or "/": self.respond},
            self.deadlines,
            bounds=lambda: self.limits,
            websockets=lambda: len(self.websockets),
            bad_request=lambda address, why: self.violations.record("http", address, why),
            limit_met=self._limit_met,
            fault=lambda address: self.faults.record("request", address, "it was not answered"),
            not_found=partial(self._not_found, path, static),
        )
        self._server = server
        return server

    @property
    def connections(self) -> int:
        """The number of open TCP connections."""
        return self._server.count if self._server is not None else 0

    async def shutdown(self) -> None:
        """End all sessions, accept no new ones, and wait until all WebSockets are closed."""
        self.accepting = False
        for session in list(self.sessions.values()):
            session.end("server shutting down")
        if self.websockets:
            self._all_gone = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._all_gone], timeout=2 * CLOSE_LIMIT)

    # Requests

    def respond(self, request: Request, connection: Connection) -> Exchange | None:
        """Answer a request: a handshake, a poll, a POST or an upgrade."""
        fields = self.cors.fields(request, connection)
        if fields is None:
            self._refuse(Refusal.FORBIDDEN, request, connection, "")
            return None
        if request.method == "OPTIONS":
            connection.answer(preflight(request, fields))
            return None
        self.deadlines.expire()
        session = self.sessions.get(request.query.get("sid", ""))
        key = websocket_key(request) if "upgrade" in request.headers else None
        refusal = verify(request, session, self.settings, key)
        if refusal is not None:
            if session is None and (forward := self.find_owner(request.query.get("sid", ""))):
                return forward(request, connection, fields)
            self._refuse(refusal, request, connection, fields)
            return None
        if session is None:
            if (gate := self.find_gate()) is not None:
                key = key if request.query["transport"] == "websocket" else None
                return HandshakeExchange(self, gate, request, key, connection, fields)
            session = self.open(request, self.sender(request, connection))
            if session is None:
                connection.answer(busy(fields))
                return None
        if request.query["transport"] == "websocket":
            assert key is not None
            self.switch(session, request, key, connection, fields)
            return None
        return self._poll(session, request, connection, fields)

    def sender(self, request: Request, peer: Peer) -> Sender:
        """The client that sent a request, as far as trusted proxies tell."""
        sender = self.proxies.sender(request, peer)
        if sender.unread:
            self.violations.record("forwarded", sender.address, f"cannot read {sender.unread}")
        return sender

    def open(self, request: Request, sender: Sender) -> Session | None:
        """Open a session; `None` if a limit is met or no new sessions are accepted."""
        if not self.admit(sender.address):
            return None
        return self.enter(request, sender.address, sender.is_secure, NO_DATA)

    def admit(self, address: str) -> bool:
        """Count a session that is to open; false if a limit is met or none are accepted."""
        limit = self.admission.limit(address, self.limits)
        if limit is not None:
            self.limits_met.record(limit, address, "a connection was refused")
        if limit is not None or not self.accepting:
            return False
        self.admission.entered(address)
        return True

    def dismiss(self, address: str) -> None:
        """Count a session that was admitted and will not open."""
        self.admission.left(address)

    def enter(
        self, request: Request, address: str, is_secure: bool, data: Mapping[str, object]
    ) -> Session:
        """Open a session that was admitted; `data` is for its receiver."""
        transport: Transport = "polling"
        if request.query["transport"] == "websocket":
            transport = "websocket"
        session = Session(self.tag + new_id(), transport, self, address, is_secure=is_secure)
        self.sessions[session.id] = session
        accepted = False
        try:
            accepted = session.accept(self._connect(session, request, data))
        finally:
            if not accepted:
                session.end("transport close")
        return session

    def _poll(
        self, session: Session, request: Request, connection: Connection, fields: str
    ) -> Exchange | None:
        polling = session.polling
        if polling is None:  # the session ended while it was being opened
            connection.answer(refuse(Refusal.BAD_REQUEST, fields))
            return None
        if request.method == "GET":
            return PollExchange(session, polling, request, connection, fields)
        post = PostExchange(session, polling, request, connection, fields)
        if polling.post(post):
            return post
        connection.answer(refuse(Refusal.BAD_REQUEST, fields))
        return None

    def switch(
        self, session: Session, request: Request, key: str, connection: Connection, fields: str
    ) -> None:
        """Turn a connection into a WebSocket of the session."""
        detached = connection.detach()
        if detached is None:
            if session.transport == "websocket":
                session.end("transport close")
            return
        transport, tail = detached
        compress = session.settings.compression
        answer, bits = switch_to_websocket(request, key, fields, compress=compress)
        websocket = WebSocketCarrier(session, transport, self, connection.closing, bits)
        websocket.takes_text_only = bool(request.query.get("b64"))  # the client's `forceBase64`
        self.websockets.add(websocket)
        websocket.open(answer, tail)

    def _refuse(
        self, refusal: Refusal, request: Request, connection: Connection, fields: str
    ) -> None:
        address = self.sender(request, connection).address
        cause = cause_of(refusal, request, self.settings)
        if cause is None:
            self.violations.record(refusal.violation, address, f"a {request.method} request")
        else:
            self.violations.count(refusal.violation)
            self.refused.record(cause.kind, address, cause.thing, cause.cure)
        connection.answer(refuse(refusal, fields, cause))

    def _limit_met(
        self, limit: Literal["connections", "request_timeout"], address: str, why: str
    ) -> None:
        few = descriptors_for_connections() < self.limits.most_connections
        cure = RAISE_DESCRIPTORS if limit == "connections" and few else ""
        self.limits_met.record(limit, address, why, cure)

    def _not_found(
        self, path: str, static: Static | None, request: Request, connection: Connection
    ) -> None:
        """Answer a page, or 404; `path` is the server's. Only Socket.IO's clients get a line."""
        if static and static.answers(request, connection):
            return
        if "EIO" in request.query:
            cure = f"server.path is {path!r}: give the client the same path"
            address = self.sender(request, connection).address
            self.refused.record("path", address, f"path {request.path!r}", cure)
            connection.answer(NO_SERVER)
        else:
            connection.answer(NOT_FOUND)

    # Called by WebSockets and sessions

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


class Admission:
    """The limits of new sessions: how many in all, per address and per second.

    `is_overloaded` returns true while the process is too busy for new sessions. `clock` returns
    seconds. How many sessions other processes have is in `addresses`.
    """

    def __init__(
        self, clock: Callable[[], float], is_overloaded: Callable[[], bool] = lambda: False
    ) -> None:
        self._is_overloaded = is_overloaded
        self._clock = clock
        self._count = 0
        self.addresses = AddressCounts()
        self._recent = TokenBucket()

    def limit(self, address: str, limits: Limits) -> LimitName | None:
        """The limit that forbids a new session from an address; `None` if there is none."""
        if self._count + self.addresses.others >= limits.sockets:
            return "sockets"
        if self.addresses.of(address) >= limits.sockets_per_address:
            return "sockets_per_address"
        if self._is_overloaded():
            return "overload_after"
        self._recent.refill(limits.connections_per_second, self._clock())
        return "connections_per_second" if self._recent.tokens < 1 else None

    def entered(self, address: str) -> None:
        """Count a session that was opened."""
        self._count += 1
        self.addresses.enter(address)
        self._recent.tokens -= 1

    def admitted_elsewhere(self, count: int, limits: Limits) -> None:
        """Note that other processes have admitted so many sessions: the rate is that of all."""
        rate = limits.connections_per_second
        self._recent.refill(rate, self._clock())
        self._recent.tokens = max(self._recent.tokens - count, -rate)

    def left(self, address: str) -> None:
        """Count a session that is over."""
        self._count -= 1
        self.addresses.leave(address)
