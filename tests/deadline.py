"""The one time limit of the tests: a last resort against hanging, far beyond what any test needs.

A test waits for what happens, on a busy machine as long as it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["DEADLINE", "deadline", "until"]

DEADLINE = 120.0
"""Seconds after which a wait gives up."""

LONGEST_PAUSE = 0.01
"""Seconds between two looks at a condition."""


def deadline() -> asyncio.Timeout:
    """Bounds a wait: `async with deadline(): ...`."""
    return asyncio.timeout(DEADLINE)


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds that nothing reports.

    The first looks come turn by turn of the loop, later ones leave the processor to others.
    """
    turns = 0
    async with deadline():
        while not condition():
            turns += 1
            await asyncio.sleep(min(LONGEST_PAUSE, max(0, turns - 100) / 1000))
