"""Tests without a network: `pip install pytest`, then `python -m pytest`."""

import asyncio
from pathlib import Path

from gateway.testing import TestGateway

FILE = Path(__file__).parents[1] / "gateway.yaml"


def test_hello_is_answered() -> None:
    async def play() -> None:
        async with TestGateway(FILE) as gateway:
            client = await gateway.connect()
            assert await client.call("hello", "Ada") == ["Hello, Ada!"]

    asyncio.run(play())
