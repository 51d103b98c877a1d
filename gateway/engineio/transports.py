"""The transports as a session sees them: polls, POST requests and WebSockets."""

from __future__ import annotations

from typing import Protocol

from gateway.engineio.outbox import Sink

__all__ = ["CLOSE_LIMIT", "COMPRESS_FROM", "Poll", "Post", "WebSocket"]

CLOSE_LIMIT = 2.0
"""Seconds that a client gets to read the last packets of a session that is over."""

COMPRESS_FROM = 1024
"""Smallest size that is compressed, in bytes: below it compression costs more than it saves."""


class Poll(Protocol):
    """A GET request. It waits until it is woken, then asks `Polling.next_payload`."""

    def wake(self) -> None: ...

    def give_way(self) -> None:
        """Answer without packets: another poll has taken its place."""

    def expire_soon(self) -> None:
        """Drop the connection soon unless the answer is read: the session is over."""


class Post(Protocol):
    """A POST request."""

    def expire_soon(self) -> None:
        """Drop the connection if the body is still to come: the session is over."""


class WebSocket(Sink, Protocol):
    """A WebSocket connection. Packets sent to a closed one are dropped."""

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent."""

    def close(self) -> None: ...
