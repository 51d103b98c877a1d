"""What a test and its plugins share: `from tests.reload.plugin_gates import stage`."""

from __future__ import annotations

import asyncio
import threading

from tests.deadline import DEADLINE, deadline

__all__ = ["Stage", "stage"]


class Stage:
    """`seen` is what plugins have noted down, gates are where they wait for the test."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.seen: list[object] = []
        self._came = asyncio.Event()
        self._go = asyncio.Event()
        self._thread_came = threading.Event()
        self._thread_go = threading.Event()

    # For plugins

    def hold(self) -> None:
        """Wait in a thread, as at import."""
        self._thread_came.set()
        assert self._thread_go.wait(DEADLINE)

    async def wait(self) -> None:
        """Wait on the loop."""
        self._came.set()
        async with deadline():
            await self._go.wait()

    # For the test

    async def held(self) -> None:
        """Until a plugin holds."""
        assert await asyncio.to_thread(self._thread_came.wait, DEADLINE)

    async def waited_for(self) -> None:
        """Until a plugin waits."""
        async with deadline():
            await self._came.wait()

    def go(self) -> None:
        """Let all that hold and wait go on, from now on."""
        self._go.set()
        self._thread_go.set()


stage = Stage()
