"""The end in the test's own loop; tests/e2e/test_shutdown.py has it as a process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import pytest

from gateway.daemon import shutdown
from tests.daemon_in_loop import served
from tests.gateway_files import write
from tests.raw_client import raw

COUNT = 5


async def times_of_going(file: Path) -> list[float]:
    """Of clients of a gateway that ends: when each was told, in seconds of the loop's clock."""

    async def told(client) -> float:
        assert await client.receive() is None
        return monotonic()

    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(file))
        async with AsyncExitStack() as clients:
            joined = [await clients.enter_async_context(raw(url)) for _ in range(COUNT)]
            for client in joined:
                await client.join()
            waiting = [asyncio.create_task(told(client)) for client in joined]
            await stack.aclose()
            return [await each for each in waiting]


async def test_clients_are_told_to_go_spread_over_a_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "PACE", 0.1)
    file = write(tmp_path, "reload: {close_window: 200ms}\nnamespaces: {/: }\n")
    times = await times_of_going(file)
    assert times == sorted(times)
    assert max(times) - min(times) >= 0.1  # of 0.16: the first may hear of it late
