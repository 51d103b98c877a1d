"""A request in progress, and the limits and deadlines of the connection that it came on."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import Protocol

from gateway.http.closing import CloseQueue
from gateway.http.response import Answer

__all__ = ["Bounds", "Connection", "Due", "Exchange"]


class Due(IntEnum):
    """A connection's deadlines."""

    REQUEST = 100
    """The head of a request has to arrive, or the rest of one that is already answered."""
    IDLE = 101
    """Another request has to arrive, on the connection that has been idle longest."""
    UNREAD = 102
    """The client has to read what was written."""


class Bounds(Protocol):
    """The limits of connections; times are in seconds, `inf` means unlimited."""

    @property
    def request_timeout(self) -> float: ...

    @property
    def keepalive_timeout(self) -> float: ...

    @property
    def most_connections(self) -> float: ...


class Connection(Protocol):
    """The connection of a request, as far as its answer needs it; see `HttpConnection`."""

    @property
    def address(self) -> str: ...

    @property
    def is_secure(self) -> bool: ...

    @property
    def closing(self) -> CloseQueue: ...

    def answer(self, answer: Answer) -> None: ...

    def detach(self) -> tuple[asyncio.Transport, bytes] | None: ...

    def abort(self) -> None: ...

    def cut_later(self, seconds: float) -> None: ...

    def cut_no_more(self) -> None: ...


class Exchange(Protocol):
    """A request in progress. `body_limit` is the size of the largest body it accepts, in bytes."""

    @property
    def body_limit(self) -> int: ...

    def finish(self, body: bytes) -> None:
        """Answer the request, which is complete."""

    def too_large(self) -> None:
        """Refuse the request: its body is over the limit, or its length announces that."""

    def broken(self) -> None:
        """Give up: the rest of the body cannot be read."""

    def written(self) -> None:
        """Note that the answer is written and the next request may follow."""

    def lost(self) -> None:
        """Note that the connection is gone."""
