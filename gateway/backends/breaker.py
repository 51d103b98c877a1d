"""A circuit breaker: calls to a backend that fails pause, and one call tries it again.

The clock is a parameter, so that tests need no time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Literal, get_args

__all__ = ["LONGEST_PAUSE", "STATES", "Breaker", "State"]

State = Literal["closed", "open", "half_open"]

STATES: tuple[State, ...] = get_args(State)

WINDOW = 10.0
"""Seconds of which failures are counted."""

LEAST_CALLS = 20
"""Calls in the window that it takes to judge a backend."""

SHARE = 0.5
"""Failed calls of all calls in the window that open the breaker."""

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds until a call tries the backend again: the first time, and after many."""

TRYING = 1.0
"""Seconds that others are told to wait while one call tries the backend."""


class Breaker:
    """The breaker of one backend; `tell` is called with each new state.

    Closed, it lets all calls pass; open, none. After a pause one call may try the backend: while it
    does, the breaker is half open, and what becomes of that call closes it or opens it for longer.
    `turn` counts the changes of state: a call that began before the last one says nothing new.
    """

    def __init__(
        self,
        tell: Callable[[State, float], None] = lambda state, pause: None,
        clock: Callable[[], float] = monotonic,
        *,
        is_off: bool = False,
    ) -> None:
        self.state: State = "closed"
        self.turn = 0
        self._tell = tell
        self._clock = clock
        self._is_off = is_off
        self._pause = FIRST_PAUSE
        self._until = 0.0
        self._seconds: deque[list[int]] = deque()  # each with its calls and its failures
        self._calls = self._failures = 0  # in all of them

    def left(self) -> float:
        """Return the seconds until a call may pass, 0 if one may now."""
        if self.state == "closed":
            return 0.0
        if self.state == "half_open":
            return TRYING
        return max(0.0, self._until - self._clock())

    def enter(self) -> float:
        """Let a call pass: 0; or return the seconds until one may.

        The end of a call that passes has to be told, with the `turn` that is then.
        """
        left = self.left()
        if not left and self.state == "open":
            self._change("half_open")
        return left

    def record(self, turn: int, *, failed: bool) -> None:
        """Count the end of a call that passed at a `turn`."""
        if turn != self.turn:
            return
        if self.state == "half_open":
            if failed:
                self._open()
            else:
                self._close()
        elif not self._is_off:
            calls, failures = self._count(failed)
            if calls >= LEAST_CALLS and failures >= calls * SHARE:
                self._open()

    def forget(self, turn: int) -> None:
        """End a call that passed at a `turn`, and about which nothing was learned."""
        if turn == self.turn and self.state == "half_open":
            self._change("open")  # the next one may try

    def hold(self, seconds: float) -> None:
        """Open for a time that the backend itself has asked for, `LONGEST_PAUSE` at most."""
        pause = min(seconds, LONGEST_PAUSE)
        self._until = self._clock() + pause
        self._change("open", pause)

    def _count(self, failed: bool) -> tuple[int, int]:
        now = int(self._clock())
        seconds = self._seconds
        if not seconds or seconds[-1][0] != now:
            seconds.append([now, 0, 0])
            while seconds[0][0] <= now - WINDOW:
                _, calls, failures = seconds.popleft()
                self._calls -= calls
                self._failures -= failures
        seconds[-1][1] += 1
        seconds[-1][2] += failed
        self._calls += 1
        self._failures += failed
        return self._calls, self._failures

    def _open(self) -> None:
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        self._until = self._clock() + pause
        self._change("open", pause)

    def _close(self) -> None:
        self._seconds.clear()
        self._calls = self._failures = 0
        self._pause = FIRST_PAUSE
        self._change("closed")

    def _change(self, state: State, pause: float = 0.0) -> None:
        self.state = state
        self.turn += 1
        self._tell(state, pause)
