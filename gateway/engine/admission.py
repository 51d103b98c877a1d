"""Admission: whether one more session may be opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from gateway.engine.bucket import Bucket
from gateway.engine.limit import Limit
from gateway.engine.settings import Settings
from gateway.engine.tally import Tally

__all__ = ["Admission"]

LATER = 1.0
"""Seconds after which one that was refused may try again, where nothing says when."""


class Admission:
    """Counts the sessions there are, in all and by address, and how fast they come.

    `is_overloaded` tells whether there is too much to do for those that are open already.
    """

    def __init__(self, limits: Tally[Limit], clock: Callable[[], float]) -> None:
        self.is_overloaded: Callable[[], bool] = lambda: False
        self._limits = limits
        self._clock = clock
        self._count = 0
        self._addresses: Counter[str] = Counter()
        self._recent = Bucket()

    def refuses(self, address: str, settings: Settings) -> float:
        """Seconds after which a client that is refused may try again; 0 lets it in."""
        if self._count >= settings.sessions:
            return self._refused("sockets", address, f"there are {self._count} connections")
        here = self._addresses.get(address, 0)
        if here >= settings.sessions_per_address:
            return self._refused("sockets_per_address", address, f"{here} connections from there")
        if self.is_overloaded():
            return self._refused("overload_after", address, "what is open already has to wait")
        wait = self._recent.wait(settings.sessions_per_second, self._clock())
        if self._recent.left < 1:
            reason = f"{settings.sessions_per_second:g} connections in a second"
            self._refused("connections_per_second", address, reason)
            return max(wait, LATER)
        self._recent.left -= 1
        return 0.0

    def entered(self, address: str) -> None:
        """A session was opened."""
        self._count += 1
        self._addresses[address] += 1

    def left(self, address: str) -> None:
        """It is over."""
        self._count -= 1
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def _refused(self, limit: Limit, address: str, why: str) -> float:
        self._limits.saw(limit, address, why)
        return LATER
