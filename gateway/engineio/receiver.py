"""The client above a session: it gets the messages, and learns why the session ended."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal, Protocol

from gateway.engineio.packet import Message
from gateway.limits import Limits

__all__ = ["NOBODY", "Reason", "Receiver"]

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
"""The reason why a session ended.

The client closed it, violated the protocol, or stopped answering pings; the server closed it, or is
shutting down; the client does not read; the connection was closed, or failed.
"""


class Receiver(Protocol):
    """The client that a session belongs to, above the engine."""

    @property
    def socket_id(self) -> str:
        """The id of the socket that it had last, for the log; empty before the first."""

    def receive(self, message: Message) -> Awaitable[None] | None:
        """Handle a message. The next one waits for the returned awaitable. Must not raise."""

    def closed(self, reason: Reason) -> None:
        """Note the end of a session that was accepted; called once."""

    def limit(self, limits: Limits) -> None:
        """Apply limits that have changed."""


class _Nobody:
    """The receiver of a session that is not accepted yet, or that is over."""

    socket_id = ""

    def receive(self, message: Message) -> None:
        return None

    def closed(self, reason: Reason) -> None:
        return None

    def limit(self, limits: Limits) -> None:
        return None


NOBODY: Receiver = _Nobody()
