"""The load: how late the loop runs, and whether there is too much to do."""

from __future__ import annotations

import asyncio
from math import inf

__all__ = ["Load"]

PERIOD = 0.2
"""Seconds between two looks."""


class Load:
    """Looks from time to time how long the loop takes to come round.

    `is_high` when the last look came more than the limit late. From then on whatever is not begun
    by `refuse_at`, in seconds of the loop's clock, is late itself. A single halt refuses no
    packet: it takes a loop that stays late.
    """

    def __init__(self) -> None:
        self.is_high = False
        self.refuse_at = inf
        self._limit = inf
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, limit: float) -> None:
        """Look from now on; `limit` is in seconds, `inf` for no looking."""
        self._limit = limit
        if limit == inf:
            self.stop()
        elif self._timer is None:
            self._arm()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.is_high, self.refuse_at = False, inf

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + PERIOD
        self._timer = loop.call_at(self._due, self._look)

    def _look(self) -> None:
        late = asyncio.get_running_loop().time() - self._due
        self.is_high = late > self._limit
        self._arm()
        self.refuse_at = self._due + self._limit if self.is_high else inf
