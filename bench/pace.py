"""The speed of a core during a trial: that of a virtual machine may halve for seconds.

Another virtual machine on the same core does not show in this machine's CPU times, but makes the
same work take longer. So a small piece of work runs all the time and is measured.
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
