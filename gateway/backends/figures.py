"""Figures of a backend's calls, which outlive changes of its block."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

from gateway.api import Socket

__all__ = ["BOUNDS", "OUTCOMES", "Figures", "Outcome", "Recent", "quantile"]

Outcome = Literal[
    "ok",
    "refused",
    "failed",
    "timeout",
    "unreachable",
    "invalid",
    "busy",
    "paused",
    "gone",
    "cancelled",
]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""What becomes of calls: `busy`, `paused` and `gone` were never sent."""

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: the upper bounds of the buckets that times are counted in; the last has none."""

MINUTE = 60.0


def _buckets() -> list[int]:
    return [0] * (len(BOUNDS) + 1)


@dataclass(slots=True)
class Recent:
    """The times of the last minute or two, in buckets."""

    now: list[int] = field(default_factory=_buckets)
    before: list[int] = field(default_factory=_buckets)
    since: float = field(default_factory=monotonic)  # when `before` began
    began: float = field(default_factory=monotonic)  # when `now` did

    def add(self, bucket: int, at: float) -> None:
        """Count a call that ended `at` a time of the monotonic clock."""
        self.turn(at)
        self.now[bucket] += 1

    def turn(self, at: float) -> None:
        """Forget what is too old."""
        if at - self.began >= MINUTE:
            is_recent = at - self.began < 2 * MINUTE
            self.before = self.now if is_recent else _buckets()
            self.since = self.began if is_recent else at
            self.now, self.began = _buckets(), at

    def buckets(self) -> tuple[Sequence[int], float]:
        """Return the counts, and the seconds that they are of."""
        at = monotonic()
        self.turn(at)
        counts = [sum(each) for each in zip(self.now, self.before, strict=True)]
        return counts, max(at - self.since, 1.0)


@dataclass(slots=True)
class Figures:
    """Counts of the calls to one backend: by outcome, by time, under way and waiting.

    `numbers` has the number of the last request about each socket.
    """

    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    buckets: list[int] = field(default_factory=_buckets)
    seconds: float = 0.0
    in_flight: int = 0
    waiting: int = 0
    retries: int = 0
    numbers: WeakKeyDictionary[Socket[Any], int] = field(default_factory=WeakKeyDictionary)
    recent: Recent = field(default_factory=Recent)

    def add_time(self, seconds: float, at: float) -> None:
        """Count the time of a call that was sent, and ended `at` a time of the clock."""
        bucket = bisect_left(BOUNDS, seconds)
        self.buckets[bucket] += 1
        self.seconds += seconds
        self.recent.add(bucket, at)


def quantile(share: float, buckets: Sequence[int]) -> float | None:
    """Estimate the seconds within which a share of calls ended, as Prometheus does.

    It is the last bound for those beyond it, and `None` without calls.
    """
    total = sum(buckets)
    if not total:
        return None
    rank, below = share * total, 0
    for at, count in enumerate(buckets[:-1]):
        if count and below + count >= rank:
            start = BOUNDS[at - 1] if at else 0.0
            return start + (BOUNDS[at] - start) * (rank - below) / count
        below += count
    return BOUNDS[-1]
