"""Who accepts: workers that share a listening socket take equal shares of its connections.

The system wakes all of them for a connection, and often the same one is the first to take it: of
1,000 connections one of four workers got 86 and another 539. So a worker with more than its share
pauses, as nginx's do. Nobody waits for a worker that hangs: one that does not take what waits,
although it has less than its share, is not counted for a moment.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable

__all__ = ["FOR_OTHERS", "IDLE", "UNCOUNTED", "AcceptRule", "ConnectionCounts"]

SIZE = 8
"""Bytes of one count."""

GONE = -1
"""The count of a worker that does not run."""

MORE, EXTRA = 1.02, 2
"""A worker may have so many times the mean number of connections, and so many more."""

FOR_OTHERS = 4
"""Connections that a worker may accept after a pause in which the others did not take all."""

IDLE = 5
"""Pauses in a row in which a worker with less than its share took nothing, although connections
waited: after that the others do not count it."""

UNCOUNTED = 0.1
"""Seconds until they count it again: it may have been busy."""


class ConnectionCounts:
    """The numbers of connections of all workers, in memory that their processes share.

    `descriptor` is that of the memory, an anonymous file.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._counts = memoryview(mmap.mmap(descriptor, 0)).cast("q")

    @classmethod
    def new(cls, workers: int) -> ConnectionCounts:
        """Make the memory, for workers that do not run yet."""
        descriptor = os.memfd_create("sockgw connections", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, workers * SIZE)
        counts = cls(descriptor)
        for number in range(1, workers + 1):
            counts.leave(number)
        return counts

    def tell(self, number: int, count: int) -> None:
        """Note how many connections a worker has."""
        self._counts[number - 1] = count

    def leave(self, number: int) -> None:
        """Note that a worker has ended."""
        self._counts[number - 1] = GONE

    def all(self) -> list[int]:
        """The numbers of connections of all workers, `GONE` for those that do not run."""
        return self._counts.tolist()


class AcceptRule:
    """Whether worker `number` may accept one more connection; if not, it pauses.

    `is_lagging` returns true while its event loop is late. `clock` returns seconds. `pauses` is the
    number of pauses.
    """

    def __init__(
        self,
        counts: ConnectionCounts,
        number: int,
        is_lagging: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pauses = 0
        self._counts, self._number, self._is_lagging = counts, number, is_lagging
        self._clock = clock
        self._for_others = 0
        self._seen = counts.all()
        self._idle = [0] * len(self._seen)  # pauses in which each worker took nothing
        self._uncounted: frozenset[int] = frozenset()  # workers, from 0
        self._until = 0.0

    def begin(self, count: int) -> None:
        """Note that the worker accepts from now on: until then the others take all that comes."""
        self._counts.tell(self._number, count)

    def allows(self, count: int) -> bool:
        """True if the worker, which has `count` connections, may accept one more."""
        self._counts.tell(self._number, count)
        if count <= self._share(self._counts.all()) and not self._is_lagging():
            return True
        self._for_others -= 1
        return self._for_others >= 0

    def pause(self) -> None:
        """Count a pause, which begins; others may accept meanwhile."""
        self.pauses += 1
        self._for_others = 0

    def not_taken(self) -> None:
        """Note that connections wait at the end of a pause: the others did not take them."""
        counts = self._counts.all()
        share = self._share(counts)
        for worker, count in enumerate(counts):
            is_idle = count == self._seen[worker] and count <= share
            self._idle[worker] = self._idle[worker] + 1 if is_idle else 0
        self._seen = counts
        self._idle[self._number - 1] = 0
        self._uncounted = frozenset(
            worker for worker, pauses in enumerate(self._idle) if pauses >= IDLE
        )
        self._until = self._clock() + UNCOUNTED
        self._for_others = FOR_OTHERS

    def _share(self, counts: list[int]) -> float:
        """The largest number of connections with which a worker may accept one more."""
        if self._uncounted and self._clock() > self._until:
            self._uncounted = frozenset()
        counted = [
            count
            for worker, count in enumerate(counts)
            if count != GONE and worker not in self._uncounted
        ]
        return MORE * sum(counted) / max(len(counted), 1) + EXTRA
