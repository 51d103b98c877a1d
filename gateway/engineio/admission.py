"""Admission: whether one more session may be opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from gateway.engineio.bucket import Bucket
from gateway.engineio.limit import Limit
from gateway.engineio.settings import Settings

__all__ = ["Admission"]


class Admission:
    """Counts the sessions there are, in all and by address, and how fast they come.

    `is_overloaded` tells whether there is too much to do for those that are open already. `clock`
    gives seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.is_overloaded: Callable[[], bool] = lambda: False
        self._clock = clock
        self._count = 0
        self._addresses: Counter[str] = Counter()
        self._recent = Bucket()

    def limit(self, address: str, settings: Settings) -> Limit | None:
        """The limit for which nobody new is let in from an address, if there is one."""
        if self._count >= settings.sessions:
            return "sockets"
        if self._addresses.get(address, 0) >= settings.sessions_per_address:
            return "sockets_per_address"
        if self.is_overloaded():
            return "overload_after"
        self._recent.wait(settings.sessions_per_second, self._clock())
        return "connections_per_second" if self._recent.left < 1 else None

    def entered(self, address: str) -> None:
        """A session was opened."""
        self._count += 1
        self._addresses[address] += 1
        self._recent.left -= 1

    def left(self, address: str) -> None:
        """It is over."""
        self._count -= 1
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
