"""Admission: whether one more session may be opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from gateway.limits import LimitName, Limits, TokenBucket

__all__ = ["Admission"]


class Admission:
    """Counts the sessions there are, in all and by address, and how fast they come.

    `is_overloaded` says whether there is too much to do for those that are open already. `clock`
    gives seconds.
    """

    def __init__(
        self, clock: Callable[[], float], is_overloaded: Callable[[], bool] = lambda: False
    ) -> None:
        self._is_overloaded = is_overloaded
        self._clock = clock
        self._count = 0
        self._addresses: Counter[str] = Counter()
        self._recent = TokenBucket()

    def limit(self, address: str, limits: Limits) -> LimitName | None:
        """The limit for which nobody new is let in from an address, if there is one."""
        if self._count >= limits.sockets:
            return "sockets"
        if self._addresses.get(address, 0) >= limits.sockets_per_address:
            return "sockets_per_address"
        if self._is_overloaded():
            return "overload_after"
        self._recent.refill(limits.connections_per_second, self._clock())
        return "connections_per_second" if self._recent.tokens < 1 else None

    def entered(self, address: str) -> None:
        """A session was opened."""
        self._count += 1
        self._addresses[address] += 1
        self._recent.tokens -= 1

    def left(self, address: str) -> None:
        """It is over."""
        self._count -= 1
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
