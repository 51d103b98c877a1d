"""A token bucket: so many a second, and as many at once."""

from __future__ import annotations

from math import inf

__all__ = ["Bucket"]


class Bucket:
    """Holds what one second allows. Whoever takes something lowers `left`, then asks `wait`."""

    __slots__ = ("_at", "left")

    def __init__(self) -> None:
        self.left = 0.0
        self._at = -1.0

    def wait(self, rate: float, now: float) -> float:
        """Fill up at `rate` a second; return in how many seconds `left` is not below zero.

        A `rate` of `inf` lets through whatever comes.
        """
        if rate == inf:
            self.left = inf
            return 0.0
        self.left = min(rate, self.left + (now - self._at) * rate)
        self._at = now
        return max(0.0, -self.left / rate)
