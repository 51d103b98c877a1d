"""What ends a client by being more than it takes: nothing of it stays, and who waits is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.raw_client import raw
from tests.reload.calling_client import Caller, caller
from tests.reload.edited_daemon import Running, running

CONFIG = """
reload: {watch: "off"}
limits: {send_packets: 3}
namespaces:
  /: {routes: {say: plugin.say, ask: plugin.ask, disconnect: plugin.left}}
  /witness: {routes: {told: plugin.told}}
"""

PLUGIN = """
told_so_far = []

async def say(ctx, number):
    return number

async def ask(ctx):
    try:
        await ctx.socket.call("question", timeout=3600.0)
    except ConnectionError as error:
        told_so_far.append(f"{error}")

async def left(ctx):
    told_so_far.append(f"{ctx.event}, {ctx.args[0]}")

async def told(ctx):
    return told_so_far
"""


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, CONFIG, plugin=PLUGIN) as daemon:
        yield daemon


@pytest.fixture
async def witness(daemon: Running) -> AsyncIterator[Caller]:
    async with caller(daemon.url, "/witness") as witness:
        yield witness


def tables(daemon: Running) -> list[Any]:
    rooms = daemon.serving.sockets.hub.rooms
    return [len(rooms), len(rooms._rooms), *map(len, rooms._namespaces.values())]


async def test_the_answer_to_connect(daemon: Running, witness: Caller) -> None:
    before = tables(daemon)
    async with raw(daemon.url, "polling") as client:
        await client.send("40/a,", "40/b,", "40/c,", "40")  # of which three are refused
        assert await client.receive() is None
    assert await witness.call("told") == [["disconnect, slow client"]]
    assert tables(daemon) == before


async def test_the_question_of_a_call(daemon: Running, witness: Caller) -> None:
    before = tables(daemon)
    async with raw(daemon.url, "polling") as client:
        await client.join()
        await client.send('421["say",1]', '422["say",2]', '423["say",3]', '42["ask"]')
        assert await client.receive() is None
    assert await witness.call("told") == [
        ["disconnect, slow client", "the client left before it answered"]
    ]
    assert tables(daemon) == before
