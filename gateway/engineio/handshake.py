"""Handshakes that have to pass a gate, such as middleware, before their session opens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from gateway.engineio.polling import PollExchange
from gateway.engineio.refusals import LATER, Refusal, busy, refuse, too_large
from gateway.engineio.session import Session
from gateway.engineio.settings import Settings
from gateway.engineio.timers import Due
from gateway.engineio.violations import EventCounter, RefusalCounter
from gateway.http.deadlines import Deadlines
from gateway.http.exchange import Connection
from gateway.http.proxies import Peer, Sender
from gateway.http.request import Request
from gateway.http.response import Answer, json_answer
from gateway.limits import LimitName, Limits

__all__ = ["Gate", "HandshakeExchange", "PendingHandshake"]

LATE = {"code": "timeout", "message": "the handshake took too long"}


class Opener(Protocol):
    """The engine as its handshakes see it."""

    settings: Settings
    limits: Limits
    deadlines: Deadlines
    limits_met: EventCounter[LimitName]
    refused: RefusalCounter
    accepting: bool

    def sender(self, request: Request, peer: Peer) -> Sender:
        """The client that sent a request, as far as trusted proxies tell."""

    def admit(self, address: str) -> bool:
        """Count a session that is to open; false if a limit forbids it."""

    def dismiss(self, address: str) -> None:
        """Count a session that was admitted and will not open."""

    def enter(
        self, request: Request, address: str, is_secure: bool, data: Mapping[str, object]
    ) -> Session:
        """Open a session that was admitted."""

    def switch(
        self, session: Session, request: Request, key: str, connection: Connection, fields: str
    ) -> None:
        """Turn a connection into a WebSocket of the session."""


class Carrier(Protocol):
    """The connection of a handshake, which gets one of the two answers."""

    def accepted(self, session: Session, fields: str) -> None:
        """Go on with the session; `fields` are header fields for the answer."""

    def refused(self, answer: Answer) -> None:
        """Send the refusal."""


class PendingHandshake:
    """A handshake on its way through a gate. It is answered once; later answers are ignored.

    It counts as a session from the start. It has `request_timeout` to pass.
    """

    __slots__ = ("_carrier", "_engine", "_is_over", "_task", "address", "is_secure", "request")

    def __init__(
        self, engine: Opener, carrier: Carrier, request: Request, address: str, *, is_secure: bool
    ) -> None:
        self.request, self.address, self.is_secure = request, address, is_secure
        self._engine, self._carrier = engine, carrier
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    def begin(self, gate: Gate) -> None:
        """Send it through the gate, once it was admitted."""
        self._task = gate(self)
        if not self._is_over:
            engine = self._engine
            engine.deadlines.set(self, Due.HANDSHAKE, engine.limits.request_timeout)

    def accept(self, fields: str, data: Mapping[str, object]) -> None:
        """Open the session. `fields` are header fields for the answer, `data` is for its client."""
        if not self._end():
            return
        engine, address = self._engine, self.address
        if engine.accepting:
            session = engine.enter(self.request, address, self.is_secure, data)
            self._carrier.accepted(session, fields)
        else:
            engine.dismiss(address)
            self._carrier.refused(busy(""))

    def refuse(self, status: int, fields: str, reason: Mapping[str, object], why: str = "") -> None:
        """Refuse it, with the JSON of `reason`, which raises `TypeError` or `ValueError`.

        `why` is for the log.
        """
        answer = json_answer(status, LATER if status == 503 else "", reason)
        if self._end():
            if why:
                self._engine.refused.record("handshake", self.address, "handshake", why)
            self._engine.dismiss(self.address)
            self._carrier.refused(answer._replace(own=fields))

    def cancel(self) -> None:
        """Stop it: the client is gone."""
        if self._end():
            self._engine.dismiss(self.address)
            self._stop()

    def due(self, due: int, when: float) -> None:
        """Refuse it: it took too long."""
        limits_met = self._engine.limits_met
        limits_met.record("request_timeout", self.address, "the handshake middleware took too long")
        self.refuse(504, "", LATE)
        self._stop()

    def _end(self) -> bool:
        """End the wait; false if it has ended before."""
        was_over, self._is_over = self._is_over, True
        if not was_over:
            self._engine.deadlines.cancel(self, Due.HANDSHAKE)
        return not was_over

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()


Gate: TypeAlias = Callable[[PendingHandshake], "asyncio.Task[None] | None"]
"""Accepts or refuses a handshake, or begins to: then it returns the task that will."""


class HandshakeExchange:
    """A request that asks for a session and has to pass a gate first.

    `key` is that of a WebSocket, `None` for long-polling. `fields` are header fields for any
    answer. Once the session is open, the request is its first poll, which answers through this
    exchange: only that answer has the fields that came from the gate.
    """

    __slots__ = (
        "_connection",
        "_engine",
        "_fields",
        "_gate",
        "_key",
        "_own",
        "_pending",
        "_poll",
        "_request",
    )

    def __init__(
        self,
        engine: Opener,
        gate: Gate,
        request: Request,
        key: str | None,
        connection: Connection,
        fields: str,
    ) -> None:
        self._engine, self._gate, self._request, self._key = engine, gate, request, key
        self._connection, self._fields, self._own = connection, fields, ""
        self._pending: PendingHandshake | None = None
        self._poll: PollExchange | None = None

    @property
    def body_limit(self) -> int:
        return self._engine.settings.max_payload

    def finish(self, body: bytes) -> None:
        address, is_secure, *_ = self._engine.sender(self._request, self._connection)
        if not self._engine.admit(address):
            self._connection.answer(busy(self._fields))
            return
        pending = PendingHandshake(self._engine, self, self._request, address, is_secure=is_secure)
        self._pending = pending
        pending.begin(self._gate)

    def too_large(self) -> None:
        self._connection.answer(too_large(self._fields))

    def broken(self) -> None:
        """Do nothing: the gate has not seen the request yet."""

    def written(self) -> None:
        if self._poll is not None:
            self._poll.written()

    def lost(self) -> None:
        if self._poll is not None:
            self._poll.lost()
        elif self._pending is not None:
            self._pending.cancel()

    # Called by the handshake

    def accepted(self, session: Session, fields: str) -> None:
        request, polling = self._request, session.polling
        self._own = fields
        if self._key is not None:
            fields = self._fields + fields
            self._engine.switch(session, request, self._key, self._connection, fields)
        elif polling is None:  # the session ended while it was being opened
            self.answer(refuse(Refusal.BAD_REQUEST, self._fields))
        else:
            self._poll = PollExchange(session, polling, request, self, self._fields)
            self._poll.finish(b"")

    def refused(self, answer: Answer) -> None:
        self._connection.answer(answer._replace(fields=self._fields + answer.fields))

    # Called by the first poll

    def answer(self, answer: Answer) -> None:
        self._connection.answer(answer._replace(own=self._own))

    def cut_later(self, seconds: float) -> None:
        self._connection.cut_later(seconds)

    def cut_no_more(self) -> None:
        self._connection.cut_no_more()
