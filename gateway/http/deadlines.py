"""Deadlines of thousands of sessions and connections, all on one timer.

Deadlines of the same kind and length pass in the order they were set, so a queue for each kind and
length stays sorted without a heap. There are few kinds and lengths.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Protocol

__all__ = ["Deadlines"]


class Timed(Protocol):
    """An object with deadlines."""

    def due(self, due: int, when: float) -> None:
        """React to a deadline, no longer set, that passed at the time `when`."""


class Deadlines:
    """A set of deadlines. Times are in seconds of `clock`.

    `arm` is called with the time at which `run` has to be called next, which replaces any earlier
    one, or with `None` when no deadline is left.
    """

    def __init__(self, clock: Callable[[], float], arm: Callable[[float | None], None]) -> None:
        self.clock = clock
        self._arm = arm
        self._armed = inf
        self._queues: dict[tuple[int, float], OrderedDict[Timed, float]] = {}

    def set(self, timed: Timed, due: int, seconds: float, when: float | None = None) -> None:
        """Set a deadline in `seconds`; it replaces an earlier one of the same kind and length.

        `when` is its time if it differs from that. It must not be before the time of any deadline
        of the same kind and length that is already set.
        """
        if when is None:
            when = self.clock() + seconds
        queue = self._queues.get((due, seconds))
        if queue is None:
            queue = self._queues[due, seconds] = OrderedDict()
        queue[timed] = when
        queue.move_to_end(timed)
        if when < self._armed:
            self._armed = when
            self._arm(when)

    def set_after(self, when: float, timed: Timed, due: int, seconds: float) -> None:
        """Set a deadline `seconds` after `when`, which is in the past.

        At least half of `seconds` is left from now on: the machine may have been asleep.
        """
        self.set(timed, due, seconds, max(when + seconds, self.clock() + seconds / 2))

    def cancel(self, timed: Timed, *dues: int) -> None:
        """Cancel the deadlines of these kinds, or of all kinds if none is given.

        A deadline that is not set is no error.
        """
        for (due, _), queue in self._queues.items():
            if not dues or due in dues:
                queue.pop(timed, None)
        if self._armed != inf and not any(self._queues.values()):
            self._queues.clear()
            self._armed = inf
            self._arm(None)

    def expire(self) -> None:
        """Run now, ahead of the timer, if a deadline has passed."""
        if self.clock() >= self._armed:
            self.run()

    def run(self) -> None:
        """Report every deadline that has passed, then arm for the next. An early call only arms."""
        try:
            self._report(self.clock())
        finally:  # one that raises must not stop the timer of all others
            self._queues = {length: queue for length, queue in self._queues.items() if queue}
            heads = (next(iter(queue.values())) for queue in self._queues.values())
            self._armed = min(heads, default=inf)
            self._arm(None if self._armed == inf else self._armed)

    def _report(self, now: float) -> None:
        for (due, _), queue in list(self._queues.items()):
            while queue:
                timed, when = next(iter(queue.items()))
                if when > now:
                    break
                del queue[timed]
                timed.due(due, when)
