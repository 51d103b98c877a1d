"""Waiting for a client that reads slowly: what sends to it goes on when most is read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gateway.engineio.pacing import NEXT_TURN

__all__ = ["Drain"]

TURN = 0.002
"""Seconds that a sender may go on without waiting; then all others have their turn."""


class Drain:
    """Senders that wait for one client, each in its place: first come, first served."""

    __slots__ = ("_turn_ends", "_waiting")

    def __init__(self) -> None:
        self._turn_ends = 0.0
        self._waiting: dict[object, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, may_go_on: Callable[[], bool]) -> None:
        """Wait until `may_go_on` is true, which is asked now and whenever `wake` was called.

        It also waits for the next turn of the loop if this one has taken long: a client that reads
        fast would otherwise keep its sender busy, and all others waiting, until the last event.
        """
        if time.monotonic() >= self._turn_ends:
            await NEXT_TURN
            self._turn_ends = time.monotonic() + TURN
        place = object()
        try:
            while not may_go_on():
                self._waiting[place] = future = asyncio.get_running_loop().create_future()
                await future
        finally:
            self._waiting.pop(place, None)

    def wake(self) -> None:
        """Let everyone who waits look again."""
        for future in self._waiting.values():
            if not future.done():
                future.set_result(None)
