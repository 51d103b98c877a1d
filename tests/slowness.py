"""What asyncio's debug mode says of slow callbacks, which no test may depend on."""

from __future__ import annotations

import re

__all__ = ["is_slowness", "without_slowness"]

_SLOW = re.compile(r"\bExecuting <.* took [0-9.]+ seconds")


def is_slowness(line: str) -> bool:
    return _SLOW.search(line) is not None


def without_slowness(log: str) -> str:
    """The log of a process without such lines."""
    return "".join(line for line in log.splitlines(keepends=True) if not is_slowness(line))
