"""How connections leave: a few in one turn of the loop.

Of thousands that go at once each takes its session, its sockets and their chains along. All in
one turn of the loop would be a stall for everybody else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

__all__ = ["Exit", "Leaver"]

LEAVING_AT_ONCE = 64
"""Connections that are seen off in one turn of the loop."""


class Exit:
    """Where connections that are lost wait for their turn."""

    def __init__(self) -> None:
        self._queue: deque[Callable[[], None]] = deque()

    def add(self, leave: Callable[[], None]) -> None:
        if not self._queue:
            asyncio.get_running_loop().call_soon(self._see_off)
        self._queue.append(leave)

    def _see_off(self) -> None:
        for _ in range(min(LEAVING_AT_ONCE, len(self._queue))):
            self._queue.popleft()()
        if self._queue:
            asyncio.get_running_loop().call_soon(self._see_off)


class Leaver(asyncio.Protocol):
    """The protocol of a connection that waits for its turn to leave."""

    __slots__ = ("_exit", "_is_called", "_transport")

    _transport: asyncio.Transport

    def __init__(self, exit: Exit) -> None:
        self._exit = exit
        self._is_called = False  # by the exit

    def leave(self, error: Exception | None) -> None:
        """The connection is gone; called once."""
        raise NotImplementedError

    def eof_received(self) -> bool | None:
        if self._transport.get_extra_info("sslcontext"):  # TLS cannot be half closed
            return None
        self._is_called = True
        self._exit.add(self._transport.close)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_called:
            self.leave(exc)
        else:
            self._exit.add(partial(self.leave, exc))
