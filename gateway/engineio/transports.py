"""The transports of a session, as it sees them: polls, POST requests and WebSockets."""

from __future__ import annotations

from typing import Protocol

from gateway.engineio.outbox import Sink

__all__ = ["CLOSE_LIMIT", "COMPRESS_FROM", "Poll", "Post", "WebSocket"]

CLOSE_LIMIT = 2.0
"""Seconds that a client has to take the last of a session that is over."""

COMPRESS_FROM = 1024
"""Bytes; below it compression costs more than it saves."""


class Poll(Protocol):
    """A GET request. It waits until it is woken, then asks `Polling.next_payload`."""

    def wake(self) -> None: ...

    def expire_soon(self) -> None:
        """The session is over: be written soon or be given up."""


class Post(Protocol):
    """A POST request."""

    def expire_soon(self) -> None:
        """The session is over: a body that is still to come is of no use."""


class WebSocket(Sink, Protocol):
    """A WebSocket connection. What is sent to one that is gone is dropped."""

    @property
    def buffered(self) -> int:
        """Bytes the connection has yet to take."""

    def close(self) -> None: ...
