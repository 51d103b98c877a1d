"""What all have in common that connect, and connect again whenever that is lost."""

from __future__ import annotations

import os
import random
import ssl

__all__ = ["Pauses", "words"]

FIRST, LONGEST = 0.05, 2.0
"""Seconds until the first attempt to connect again, and at most until the next."""


class Pauses:
    """The pauses between attempts, in seconds: each is twice the one before, up to two seconds.

    At random, up to half of a pause is left out, so that not all come back at the same time.
    """

    def __init__(self) -> None:
        self._next = FIRST

    def first(self) -> float:
        """Begin anew, after a connection that was lost."""
        self._next = FIRST
        return _shortened(FIRST)

    def next(self) -> float:
        """Go on, after an attempt that failed."""
        pause, self._next = self._next, min(2 * self._next, LONGEST)
        return _shortened(pause)


def _shortened(pause: float) -> float:
    return pause * random.uniform(0.5, 1)


def words(error: Exception) -> str:
    """Say why there is no connection."""
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and not isinstance(error, ssl.SSLError):
        return os.strerror(number).lower()
    return str(error) or "it does not answer"
