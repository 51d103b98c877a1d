"""What carries a session's packets, and what a session lives in: the seams of the sans-I/O core."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Literal, Protocol

from gateway.engineio.deadlines import Deadlines
from gateway.engineio.frame import Frames
from gateway.engineio.packet import Message, Packet
from gateway.engineio.settings import Settings
from gateway.engineio.violations import EventCounter, Violation
from gateway.limits import LimitName, Limits

if TYPE_CHECKING:
    from gateway.engineio.session import Session

__all__ = [
    "CLOSE_LIMIT",
    "COMPRESS_FROM",
    "NOBODY",
    "Host",
    "Poll",
    "Post",
    "Reason",
    "Receiver",
    "WebSocket",
]

CLOSE_LIMIT = 2.0
"""Seconds that a client has to take the last of a session that is over."""

COMPRESS_FROM = 1024
"""Bytes; below it compression costs more than it saves."""

Reason = Literal[
    "client disconnect",
    "parse error",
    "ping timeout",
    "server disconnect",
    "server shutting down",
    "slow client",
    "transport close",
    "transport error",
]
"""Why a session is over: its client said so, sent what it may not, stopped answering; its server
said so, or shuts down; its client does not take what is sent; its connection was closed, or
broken."""


class Poll(Protocol):
    """A GET request. It waits until it is woken, then asks `Session.take` for its answer."""

    def wake(self) -> None: ...

    def hurry(self) -> None:
        """The session is over: be written soon or be given up."""


class Post(Protocol):
    """A POST request."""

    def hurry(self) -> None:
        """The session is over: a body that is still to come is of no use."""


class WebSocket(Protocol):
    """A WebSocket connection. What is sent to one that is gone is dropped."""

    @property
    def buffered(self) -> int:
        """Bytes the connection has yet to take."""

    def send(self, packet: Packet) -> None: ...

    def send_many(self, frames: Frames) -> None: ...

    def close(self) -> None: ...


class Receiver(Protocol):
    """What a session belongs to above the engine: one client."""

    def receive(self, message: Message) -> Awaitable[None] | None:
        """Take a message; the next one waits for what is returned. Must not raise."""

    def closed(self, reason: Reason) -> None:
        """The session is over; called once, if it had been accepted."""

    def limit(self, limits: Limits) -> None:
        """Apply limits that have changed."""


class _Nobody:
    """The receiver of a session that is not accepted yet, or over."""

    def receive(self, message: Message) -> None:
        return None

    def closed(self, reason: Reason) -> None:
        return None

    def limit(self, limits: Limits) -> None:
        return None


NOBODY: Receiver = _Nobody()


class Host(Protocol):
    """Where sessions live."""

    settings: Settings
    deadlines: Deadlines
    violations: EventCounter[Violation]
    limits: Limits
    limits_met: EventCounter[LimitName]

    def forget(self, session: Session) -> None:
        """No request may find this session any more."""
