"""The outbox of an engine with a broker: what is published waits here to be sent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from gateway.cluster.bus import MOST_BYTES, BusCounts, Reason

__all__ = ["BUSY", "MOST_WAITING", "Outbox", "Outgoing"]

MOST_WAITING = 8_000_000
"""Bytes in the outbox."""

BUSY = MOST_WAITING // 4
"""Bytes in the outbox from which volatile messages are dropped."""

LONGEST_WAIT = 1.0
"""Seconds that a message waits for a connection."""


@dataclass(slots=True)
class Outgoing:
    """A message for a channel, by its name; `since` is in seconds of the loop's clock."""

    since: float
    name: bytes
    message: bytes


class Outbox:
    """Messages in the order in which they were published. `counts` has those that were dropped."""

    def __init__(self, counts: BusCounts) -> None:
        self._counts = counts
        self._waiting: deque[Outgoing] = deque()
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def has_room(self, size: int, unwritten: int | None, *, volatile: bool) -> bool:
        """True if a message of `size` bytes can be put; else it is counted.

        `unwritten` are the bytes that the connection holds, `None` if there is none.
        """
        reason = self._full(size, unwritten, volatile=volatile)
        if reason is not None:
            self._counts.unpublished[reason] += 1
        return reason is None

    def _full(self, size: int, unwritten: int | None, *, volatile: bool) -> Reason | None:
        if size > MOST_BYTES:
            return "large"
        if volatile and unwritten is None:
            return "away"
        waiting = self._size + (unwritten or 0)
        if volatile and waiting > BUSY:
            return "volatile"
        return "full" if waiting + size > MOST_WAITING else None

    def put(self, now: float, name: bytes, message: bytes) -> None:
        """Add a message."""
        self._waiting.append(Outgoing(now, name, message))
        self._size += len(message)

    def take(self) -> deque[Outgoing]:
        """Take all messages out."""
        waiting, self._waiting, self._size = self._waiting, deque(), 0
        return waiting

    def expire(self, now: float) -> None:
        """Drop what has waited too long for a connection."""
        while self._waiting and now - self._waiting[0].since > LONGEST_WAIT:
            self._size -= len(self._waiting.popleft().message)
            self._counts.unpublished["away"] += 1
