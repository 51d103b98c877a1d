"""Python's garbage collector, set for a process that is full of sockets."""

from __future__ import annotations

import gc

__all__ = ["set_up"]

THRESHOLDS = (1000, 10, 100)
"""A full collection looks at every object of every socket, which stalls all of them: it may come
a tenth as often as by Python's own thresholds. What packets leave is freed without it."""


def set_up() -> None:
    """To be called when all is imported: what is here now is here for good, and not looked at."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
