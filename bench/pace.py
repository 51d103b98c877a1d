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
from statistics import fmean

__all__ = ["SLOW", "paced"]

SLOW = 1.25
"""A pace is slow when it is this much more than the best that was seen."""

STEPS = 20_000
EVERY = 0.05
"""Seconds between two probes; each takes about half a millisecond."""


@contextmanager
def paced(core: int) -> Iterator[list[float]]:
    """Probe a core meanwhile. In the end the list has the microseconds of CPU that a probe took."""
    found: list[float] = []
    probes = [_probe()]
    over = threading.Event()

    def probe() -> None:
        os.sched_setaffinity(threading.get_native_id(), {core})
        while not over.wait(EVERY):
            probes.append(_probe())

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
    found.append(fmean(probes))


def _probe() -> float:
    began = time.thread_time()
    total = 0
    for step in range(STEPS):
        total += step & 3
    return (time.thread_time() - began) * 1e6
