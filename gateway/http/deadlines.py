"""Deadlines of thousands of sessions and connections, on one timer for all of them.

Deadlines of one kind and one length fall in the order they were set, and there are few kinds and
lengths: a queue for each is sorted by itself. No heap, no timer and no task for each.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Protocol

__all__ = ["Deadlines", "Timed"]


class Timed(Protocol):
    """Something that can be due."""

    def due(self, due: int, when: float) -> None:
        """The deadline `when` has passed; it is set no more."""


class Deadlines:
    """Times are seconds of `clock`.

    `arm` is called with the time at which `run` wants to be called next, in place of any before,
    or with `None` when nothing is left to wait for.
    """

    def __init__(self, clock: Callable[[], float], arm: Callable[[float | None], None]) -> None:
        self.clock = clock
        self._arm = arm
        self._armed = inf
        self._queues: dict[tuple[int, float], OrderedDict[Timed, float]] = {}

    def set(self, timed: Timed, due: int, seconds: float, when: float | None = None) -> None:
        """Set a deadline that many seconds from now, in place of the one of this kind.

        `when` is its time where that is another, but no earlier than of those set before it.
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
        """Set a deadline that many seconds from `when`, which has passed.

        Unless so much has passed, the machine having slept, that less than half would be left.
        """
        self.set(timed, due, seconds, max(when + seconds, self.clock() + seconds / 2))

    def cancel(self, timed: Timed, *dues: int) -> None:
        """Take back deadlines of these kinds, or all; those that are not set are no error."""
        for (due, _), queue in self._queues.items():
            if not dues or due in dues:
                queue.pop(timed, None)
        if self._armed != inf and not any(self._queues.values()):
            self._queues.clear()
            self._armed = inf
            self._arm(None)

    def expire(self) -> None:
        """Run now if something is due: whoever asks need not wait for the timer's turn."""
        if self.clock() >= self._armed:
            self.run()

    def run(self) -> None:
        """Tell everything that is due, then arm for the next. A call too early only arms."""
        try:
            self._tell(self.clock())
        finally:  # one that fails is not to stop the clock of all
            self._queues = {length: queue for length, queue in self._queues.items() if queue}
            heads = (next(iter(queue.values())) for queue in self._queues.values())
            self._armed = min(heads, default=inf)
            self._arm(None if self._armed == inf else self._armed)

    def _tell(self, now: float) -> None:
        for (due, _), queue in list(self._queues.items()):
            while queue:
                timed, when = next(iter(queue.items()))
                if when > now:
                    break
                del queue[timed]
                timed.due(due, when)
