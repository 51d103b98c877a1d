"""The gateway that plugin authors test with."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.testing import TestGateway
from tests.gateway_files import write

CONFIG = "namespaces: {/: {routes: {ping: own.ping}}}\n"
OWN = "async def ping(ctx): return 'pong'"


async def test_a_loop_of_calls_lets_others_run(tmp_path: Path) -> None:
    async with TestGateway(write(tmp_path, CONFIG, own=OWN)) as gateway:
        client = await gateway.connect()
        turns: list[str] = []
        asyncio.get_running_loop().call_soon(turns.append, "a turn")
        assert await client.call("ping") == ["pong"]
        assert turns == ["a turn"]
