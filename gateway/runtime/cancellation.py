"""Cancellations of packets, by cause.

asyncio lets a task know that it is cancelled, but not why. The cause is kept here: the ack and the
metrics tell it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

__all__ = ["CAUSES", "Cancellations", "Cause"]

Cause = Literal["timeout", "reload", "stop", "disconnect", "plugin"]

CAUSES: tuple[Cause, ...] = ("reload", "stop", "disconnect", "plugin")
"""Causes by which cancelled packets are counted; a time-out is an outcome of its own."""

GRACE = 0.1
"""Seconds that a packet may take to clean up before its client is answered."""


@dataclass(slots=True)
class _Watched:
    """A packet that waits for something.

    `give_up` answers for one that goes on after it was cancelled. `own` is the time-out that its
    route declares, in seconds, `None` if the route declares none. `timer` ends its time, `None` if
    that has not begun; a gateway event has a timer elsewhere, which is due at `until`, in seconds
    of the loop's clock. `by` is what cancelled it.
    """

    give_up: Callable[[Cause], None] | None = None
    own: float | None = None
    until: float | None = None
    timer: asyncio.TimerHandle | None = None
    by: Cause | None = None

    @property
    def due(self) -> float | None:
        """When its time is over; `None` if it has not begun."""
        return self.until if self.until is not None or self.timer is None else self.timer.when()


class Cancellations:
    """Cancels packets: those that take too long, and those nobody waits for any longer.

    `counts` has the number of cancelled packets by cause.
    """

    def __init__(self) -> None:
        self.counts: dict[Cause, int] = dict.fromkeys(CAUSES, 0)
        self._watched: dict[asyncio.Task[None], _Watched] = {}

    def watch(
        self, task: asyncio.Task[None], give_up: Callable[[Cause], None], own: float | None
    ) -> None:
        """Watch a packet until `forget`; see `_Watched` for `give_up` and `own`."""
        watched = self._watch(task)
        watched.give_up, watched.own = give_up, own

    def forget(self, task: asyncio.Task[None]) -> None:
        """Forget a packet that is done."""
        watched = self._watched.pop(task, None)
        if watched is not None and watched.timer is not None:
            watched.timer.cancel()

    def expire_after(self, task: asyncio.Task[None], seconds: float) -> None:
        """Cancel a packet that is not done within `seconds`: it took too long."""
        self._cancel_after(task, self._watch(task), seconds, "timeout")

    def stop_timer(self, task: asyncio.Task[None]) -> None:
        """Stop the timer of `expire_after`."""
        watched = self._watched[task]
        if watched.give_up is None:  # its first step, after which it may be done
            self.forget(task)
        elif watched.timer is not None:
            watched.timer.cancel()
            watched.timer = None

    @contextmanager
    def own_time(self, seconds: float) -> Iterator[None]:
        """Let the running task go on for so long after a reload; its own timer ends it."""
        task = asyncio.current_task()
        assert task is not None
        watched = self._watch(task)
        former = watched.own
        watched.own, watched.until = seconds, task.get_loop().time() + seconds
        try:
            yield
        finally:
            watched.own, watched.until = former, None
            if watched.give_up is None:  # its first step, after which it may be done
                self.forget(task)

    def cancel(self, task: asyncio.Task[None], by: Cause) -> bool:
        """Cancel a packet. The first cause counts. Returns False if it is done already."""
        if not task.cancel():
            return False
        watched = self._watch(task)
        if watched.by is not None:
            return True
        watched.by = by
        if by != "timeout":
            self.counts[by] += 1
        if watched.timer is not None:
            watched.timer.cancel()
        if watched.give_up is not None:
            watched.timer = task.get_loop().call_later(GRACE, watched.give_up, by)
        return True

    def cancel_late(self, tasks: Iterable[asyncio.Task[None]]) -> int:
        """Cancel the packets of an old generation; return how many.

        Packets whose route declares a time-out go on until then. Those among them that still wait
        for their turn get that time from now on.
        """
        count = 0
        for task in tasks:
            watched = self._watched.get(task)
            if watched is None or watched.own is None:
                count += self.cancel(task, "reload")
            elif watched.due is None and watched.by is None:
                self._cancel_after(task, watched, watched.own, "reload")
        return count

    def cause(self, task: asyncio.Task[None]) -> Cause | None:
        """What has cancelled a task; `None` if only a task that it awaits was cancelled.

        Plugins cancel tasks in asyncio's way, so they are counted here.
        """
        watched = self._watched.get(task)
        if watched is not None and watched.by is not None:
            return watched.by
        if not task.cancelling():
            return None
        self.counts["plugin"] += 1
        return "plugin"

    def has_cancelled(self, task: asyncio.Task[None]) -> bool:
        """True if a packet goes on although it was cancelled here."""
        watched = self._watched.get(task)
        return watched is not None and watched.by is not None

    def due(self, task: asyncio.Task[None], drain: float) -> float:
        """When a packet of an old generation is cancelled, in seconds of the loop's clock.

        `drain` is when `cancel_late` is called, infinity if it is not called any more.
        """
        watched = self._watched.get(task) or _Watched()
        if watched.own is None:
            return drain if watched.due is None else min(watched.due, drain)
        return drain + watched.own if watched.due is None else watched.due

    def _watch(self, task: asyncio.Task[None]) -> _Watched:
        watched = self._watched.get(task)
        if watched is None:
            watched = self._watched[task] = _Watched()
        return watched

    def _cancel_after(
        self, task: asyncio.Task[None], watched: _Watched, seconds: float, by: Cause
    ) -> None:
        if watched.timer is not None:
            watched.timer.cancel()
        watched.timer = task.get_loop().call_later(seconds, self.cancel, task, by)
