"""What happens too often to be told each time: all of it counted, some of it logged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

__all__ = ["Tally"]

LOG = logging.getLogger("sockgw.engine")

INTERVAL = 1.0
"""Seconds between two lines on one kind."""

LENGTH = 200
"""Characters of a reason that are logged."""

K = TypeVar("K", bound=str)


class Tally(Generic[K]):
    """`counts` has every kind from the start; `clock` gives seconds; `word` leads each line.

    At most one line a second is logged for each kind, however many clients give cause. It tells
    how many there were since the line before.
    """

    def __init__(
        self, word: str, kinds: Iterable[K], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.counts: dict[K, int] = dict.fromkeys(kinds, 0)
        self._word = word
        self._clock = clock
        self._untold: dict[K, int] = {}
        self._silent_until: dict[K, float] = {}

    def saw(self, kind: K, who: str, why: object) -> None:
        """Count one. `who` and `why` name no secret: a session's id is one, and what a request
        says may be. Of `why` the first line is told.
        """
        self.counts[kind] += 1
        now = self._clock()
        if now < self._silent_until.get(kind, now):
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return
        self._silent_until[kind] = now + INTERVAL
        left_out = self._untold.pop(kind, 0)
        more = f" ({left_out} more of this kind were not logged)" if left_out else ""
        reason = str(why).partition("\n")[0][:LENGTH]
        LOG.info("%s %s by %s: %s%s", self._word, kind, who, reason, more)
