"""File descriptors: how many the process may have, and how many of them connections may take."""

from __future__ import annotations

import resource
from contextlib import suppress
from math import inf

__all__ = ["descriptors_for_connections", "raise_descriptor_limit"]

LEAST, MOST = 64, 1024
"""Descriptors that are kept for files and for the connections of plugins: an eighth, within these.

Without them a reload could not read its files while clients hold all connections there may be.
"""


def raise_descriptor_limit() -> None:
    """Raise the soft limit of descriptors to the hard one, as Go's programs do.

    The soft one is low for the sake of `select`, which neither asyncio nor uvloop uses.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # macOS has a lower limit that it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptors_for_connections() -> float:
    """The number of connections that the process has descriptors for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return inf
    return soft - min(MOST, max(LEAST, soft // 8))
