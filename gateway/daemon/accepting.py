"""Who accepts: workers that share a listening socket take equal shares of its connections.

The system wakes all of them for a connection, and often the same one is the first to take it: of
1,000 connections one of four workers got 86 and another 539. So a worker with more than its share
pauses, as nginx's do.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable

from gateway.config.build import MOST_WORKERS

__all__ = ["AcceptRule", "ConnectionCounts"]

SIZE = 8
"""Bytes of one count."""

GONE = -1
"""The count of a worker that does not run."""

MORE, EXTRA = 1.05, 2
"""A worker may have so many times the mean number of connections, and so many more."""


class ConnectionCounts:
    """The numbers of connections of all workers, in memory that their processes share.

    `descriptor` is that of the memory, an anonymous file.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._counts = memoryview(mmap.mmap(descriptor, MOST_WORKERS * SIZE)).cast("q")

    @classmethod
    def new(cls) -> ConnectionCounts:
        """Make the memory, for workers that do not run yet."""
        descriptor = os.memfd_create("sockgw connections", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, MOST_WORKERS * SIZE)
        counts = cls(descriptor)
        for number in range(1, MOST_WORKERS + 1):
            counts.leave(number)
        return counts

    def tell(self, number: int, count: int) -> None:
        """Note how many connections a worker has."""
        self._counts[number - 1] = count

    def leave(self, number: int) -> None:
        """Note that a worker has ended."""
        self._counts[number - 1] = GONE

    def mean(self) -> float:
        """The mean number of connections of the workers that run; 0 if none does."""
        running = [count for count in self._counts if count != GONE]
        return sum(running) / len(running) if running else 0.0


class AcceptRule:
    """Whether worker `number` may accept one more connection.

    `is_lagging` returns true while its event loop is late. `pauses` counts how often it might not.
    """

    def __init__(
        self, counts: ConnectionCounts, number: int, is_lagging: Callable[[], bool]
    ) -> None:
        self.pauses = 0
        self._counts, self._number, self._is_lagging = counts, number, is_lagging

    def begin(self, count: int) -> None:
        """Note that the worker accepts from now on: until then the others take all that comes."""
        self._counts.tell(self._number, count)

    def allows(self, count: int) -> bool:
        """True if the worker, which has `count` connections, may accept one more."""
        self._counts.tell(self._number, count)
        return count <= MORE * self._counts.mean() + EXTRA and not self._is_lagging()
