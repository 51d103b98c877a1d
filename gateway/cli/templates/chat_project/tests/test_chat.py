"""Tests without a network: `pip install pytest`, then `python -m pytest`."""

import asyncio
from pathlib import Path

import pytest

from gateway.testing import Refused, TestGateway

FILE = Path(__file__).parents[1] / "gateway.yaml"


def test_a_message_reaches_everybody_in_the_room() -> None:
    async def play() -> None:
        async with TestGateway(FILE) as gateway:
            ada = await gateway.connect(auth={"name": "Ada"})
            bob = await gateway.connect(auth={"name": "Bob"})
            assert await ada.call("chat", "hello") == [{"ok": True}]
            assert (await bob.receive("chat")).args == ["Ada", "hello"]

    asyncio.run(play())


def test_rooms_are_apart() -> None:
    async def play() -> None:
        async with TestGateway(FILE) as gateway:
            ada = await gateway.connect(auth={"name": "Ada"})
            bob = await gateway.connect(auth={"name": "Bob"})
            assert await bob.call("join", "ideas") == [{"room": "ideas"}]
            assert (await ada.receive("left")).args == ["Bob"]
            await ada.call("chat", "to the lobby")
            await bob.call("chat", "to the ideas")
            assert (await bob.receive("chat")).args == ["Bob", "to the ideas"]

    asyncio.run(play())


def test_a_name_has_to_be_text() -> None:
    async def play() -> None:
        async with TestGateway(FILE) as gateway:
            with pytest.raises(Refused, match="a name is text of up to 20 characters"):
                await gateway.connect(auth={"name": 7})

    asyncio.run(play())
