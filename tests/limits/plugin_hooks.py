"""What a test and its plugins have in common while they share a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Stage", "stage"]


class Stage:
    """`between` is called by a handler that has blocked the loop; `over` ends one that does it
    again and again, and counts in `laps`.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.between: Callable[[], object] = lambda: None
        self.over = asyncio.Event()
        self.laps = asyncio.Semaphore(0)


stage = Stage()
