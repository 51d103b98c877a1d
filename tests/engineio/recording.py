"""What a session touches, without I/O: a clock set by hand, carriers that remember."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from gateway.engineio.frames import Frames
from gateway.engineio.packet import Message, Packet
from gateway.engineio.receiver import Reason
from gateway.engineio.session import Polling, Session
from gateway.engineio.settings import Settings, Transport
from gateway.engineio.violations import VIOLATIONS, EventCounter, RefusalCounter, Violation
from gateway.http.deadlines import Deadlines
from gateway.limits import LIMIT_NAMES, LimitName, Limits
from tests.engineio.echo import UNLIMITED


class RecordingHost:
    """A host of sessions, and their receiver.

    `pass_time` moves its clock; `armed` is when it wants to be woken.
    """

    def __init__(self, settings: Settings | None = None, **limits: Any) -> None:
        self.settings = settings or Settings()
        self.limits = replace(UNLIMITED, **limits)
        self.deadlines = Deadlines(lambda: self.now, self.arm)
        self.now = 0.0
        self.violations: EventCounter[Violation] = EventCounter(
            "violation", VIOLATIONS, lambda: self.now
        )
        self.limits_met: EventCounter[LimitName] = EventCounter(
            "limit", LIMIT_NAMES, lambda: self.now
        )
        self.refused = RefusalCounter(lambda: self.now)
        self.socket_id = ""
        self.armed: float | None = None
        self.messages: list[Message] = []
        self.ends: list[Reason] = []
        self.forgotten: list[Session] = []
        self.waiting: Awaitable[None] | None = None

    def open(self, transport: Transport = "polling") -> Session:
        """A session whose handshake is accepted."""
        session = Session("id", transport, self)
        assert session.accept(self)
        return session

    def pass_time(self, seconds: float) -> None:
        """Let time pass; everything due happens at its time."""
        until = round(self.now + seconds, 3)
        while self.armed is not None and self.armed <= until:
            self.now = max(self.now, self.armed)
            self.deadlines.run()
        self.now = until

    def arm(self, when: float | None) -> None:
        self.armed = when

    def receive(self, message: Message) -> Awaitable[None] | None:
        self.messages.append(message)
        return self.waiting

    def closed(self, reason: Reason) -> None:
        self.ends.append(reason)

    def limit(self, limits: Limits) -> None:
        self.limits = limits

    def forget(self, session: Session) -> None:
        self.forgotten.append(session)


class RecordingRequest:
    """A GET or a POST request."""

    def __init__(self) -> None:
        self.woken = False
        self.expires = False

    def wake(self) -> None:
        self.woken = True

    def expire_soon(self) -> None:
        self.expires = True


class RecordingWebSocket:
    """A WebSocket."""

    buffered = 7

    def __init__(self) -> None:
        self.sent: list[Packet] = []
        self.closed = False

    def send(self, packet: Packet) -> None:
        self.sent.append(packet)

    def send_many(self, frames: Frames) -> None:
        self.sent += frames.packets

    def close(self) -> None:
        self.closed = True


POLLING: dict[RecordingRequest, Polling] = {}
"""The polling of the session that each request was for: an ended session has none."""


def polling(session: Session) -> Polling:
    """The polling of a session that has some."""
    assert session.polling is not None
    return session.polling


def poll(session: Session, request: RecordingRequest | None = None) -> RecordingRequest:
    """Let a poll come."""
    request = request or RecordingRequest()
    POLLING[request] = polling(session)
    POLLING[request].poll(request)
    return request


def next_payload(request: RecordingRequest) -> list[Packet] | None:
    """The answer to a poll that was woken."""
    return POLLING[request].next_payload(request)


def answered(request: RecordingRequest) -> None:
    """The answer to a poll is written."""
    POLLING[request].answered(request)


def answer(session: Session, request: RecordingRequest) -> list[Packet] | None:
    """The answer to a poll that was woken, written."""
    assert request.woken
    packets = next_payload(request)
    answered(request)
    return packets


def take(session: Session) -> list[Packet] | None:
    """The answer to a poll that need not wait."""
    return answer(session, poll(session))
