"""How fast a core is while a trial runs: a virtual machine's may halve its pace for seconds.

Whoever shares the core below does not show in the machine's own accounts, but in what the same
work costs. So a little of it is done all along.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from statistics import fmean

__all__ = ["SLOW", "paced"]

SLOW = 1.25
"""The pace from which on a trial does not count: this much more than the least that work costs."""

STEPS = 20_000
EVERY = 0.05
"""Seconds between two probes; each takes about half a millisecond."""

CALIBRATION = 200
"""Probes among which there is one that nobody disturbs."""


@contextmanager
def paced(core: int) -> Iterator[list[float]]:
    """Probe a core meanwhile. In the end the list has the pace: 1 is what the core can do."""
    found: list[float] = []
    probes: list[float] = []
    over = threading.Event()

    def probe() -> None:
        os.sched_setaffinity(threading.get_native_id(), {core})
        while not over.wait(EVERY):
            probes.append(_probe())

    best = _best()
    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
    found.append(fmean(probes or [best]) / best)


@cache
def _best() -> float:
    return min(_probe() for _ in range(CALIBRATION))


def _probe() -> float:
    """Seconds of CPU that some steps take."""
    began = time.thread_time()
    total = 0
    for step in range(STEPS):
        total += step & 3
    return time.thread_time() - began
