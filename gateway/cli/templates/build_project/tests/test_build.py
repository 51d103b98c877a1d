"""Tests without a network: `pip install pytest`, then `python -m pytest`."""

import asyncio
import os
from pathlib import Path

from gateway.testing import TestGateway

FILE = Path(__file__).parents[1] / "gateway.yaml"

os.environ.update(STEPS="3", PAUSE="0")  # build.sh reads them


def test_a_build_is_streamed() -> None:
    async def play() -> None:
        async with TestGateway(FILE) as gateway:
            client = await gateway.connect()
            [ack] = await client.call("build")
            assert isinstance(ack, dict)
            assert ack["status"] == 0
            lines = [(await client.receive("line")).args for _ in range(4)]
            assert lines[0] == ["[1/3] compiling module_1.c"]
            assert lines[-1] == ["linked gateway, 3 modules"]

    asyncio.run(play())
