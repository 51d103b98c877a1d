"""Connections that close a few at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from gateway.http.addresses import UNIX
from gateway.http.proxy_protocol import Announced

__all__ = ["CloseQueue", "QueuedProtocol"]

CLOSED_AT_ONCE = 64
"""Connections that are closed per turn of the loop."""


class CloseQueue:
    """Closes connections a few at a time.

    Each connection takes its session, its sockets and their chains with it. Closing thousands in
    one turn of the loop would stall all other clients.
    """

    def __init__(self) -> None:
        self._queue: deque[Callable[[], None]] = deque()

    def add(self, close: Callable[[], None]) -> None:
        if not self._queue:
            asyncio.get_running_loop().call_soon(self._close_some)
        self._queue.append(close)

    def _close_some(self) -> None:
        try:
            for _ in range(min(CLOSED_AT_ONCE, len(self._queue))):
                self._queue.popleft()()
        finally:  # one that raises must not hold up all others
            if self._queue:
                asyncio.get_running_loop().call_soon(self._close_some)


class QueuedProtocol(asyncio.Protocol):
    """A connection that closes through a `CloseQueue`.

    `announced` is the client that its PROXY header names; `None` if that or the header is missing.
    """

    __slots__ = ("_closing", "_cut", "_is_queued", "_transport", "announced")

    _transport: asyncio.Transport

    def __init__(self, closing: CloseQueue) -> None:
        self._closing = closing
        self._is_queued = False
        self._cut: asyncio.TimerHandle | None = None
        self.announced: Announced | None = None

    @property
    def address(self) -> str:
        """The client's address, or `UNIX`; empty if the connection was lost before it was known."""
        if self.announced is not None:
            return self.announced.address
        peer = self._transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            return str(peer[0])
        return "" if peer is None else UNIX

    @property
    def closing(self) -> CloseQueue:
        """The queue that the connection closes through."""
        return self._closing

    @property
    def is_secure(self) -> bool:
        """True for a connection over TLS, here or at the proxy that has announced the client."""
        if self.announced is not None and self.announced.is_secure:
            return True
        return self._transport.get_extra_info("sslcontext") is not None

    def close(self) -> None:
        """Close the connection once everything written has been sent."""
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._transport.abort()

    def cut_later(self, seconds: float) -> None:
        """Drop the connection in `seconds`, if it is still open by then."""
        if self._cut is None:
            self._cut = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def cut_no_more(self) -> None:
        """Cancel `cut_later`."""
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None

    def linger(self, seconds: float) -> None:
        """End the output, and read on for up to `seconds` before the connection is dropped.

        Closing with unread bytes makes TCP reset the connection, and the client may lose what was
        written last: https://www.rfc-editor.org/rfc/rfc9112#section-9.6
        """
        self._transport.write_eof()
        self._transport.resume_reading()
        self.cut_later(seconds)

    def lost(self) -> None:
        """Clean up after the connection is gone; called once."""
        raise NotImplementedError

    def eof_received(self) -> bool | None:
        if self._transport.get_extra_info("sslcontext"):  # TLS cannot be half closed
            return None
        self._is_queued = True
        self._closing.add(self._transport.close)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_queued:
            self.lost()
        else:
            self._closing.add(self.lost)
