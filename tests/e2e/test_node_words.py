"""What Node's tutorials take for granted, with the stock client and on every transport."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.daemon_in_loop import served
from tests.deadline import deadline
from tests.deaf_client import deaf
from tests.gateway_files import write
from tests.js_client import JsDriver
from tests.raw_client import Raw, raw

CONFIG = """
admin: {socket: admin.sock}
namespaces:
  /:
    routes:
      connect: plugin.welcome
      how: plugin.how
      count: plugin.count
      move: plugin.move
      away: plugin.away
  /other:
    routes: {how: plugin.how, away: plugin.away}
  /calm:
    routes: {here: plugin.here, move: plugin.move}
"""

PLUGIN = """
async def welcome(ctx):
    if ctx.socket.handshake.auth.get("ask"):
        await ctx.socket.emit("welcome", *await ctx.socket.call("who", 7, b"\\x07"))

async def how(ctx):
    return ctx.socket.transport, [each.namespace for each in ctx.socket.siblings]

async def here(ctx):
    return len(await ctx.gateway.of("/").sockets())

async def count(ctx, timeout: float):
    answers = await ctx.socket.broadcast.call("count", 1, timeout=timeout)
    return answers.answers, answers.missing

async def move(ctx, size: int):
    await ctx.gateway.of("/").volatile.emit("moved", "x" * size)

async def away(ctx):
    await ctx.socket.disconnect(close=True)
"""


@pytest_asyncio.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with served(write(tmp_path, CONFIG, plugin=PLUGIN)) as url:
        yield url


async def dropped(folder: Path) -> int:
    """How many volatile events were dropped, by the metrics."""
    connector = aiohttp.UnixConnector(str(folder / "admin.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.get("http://x/metrics") as answer,
    ):
        found = re.search(r"^sockgw_volatile_dropped_total (\S+)$", await answer.text(), re.M)
    assert found is not None
    return int(float(found[1]))


async def ask(client: Raw, packet: str) -> str:
    """Send an event with ack id 7 to `/calm`, and wait for that ack."""
    await client.send(f"42/calm,7{packet}")
    answer = await client.receive()
    assert isinstance(answer, str)
    assert answer.startswith("43/calm,7"), answer
    return answer


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]])
async def test_the_connect_route_asks_the_client(
    js: JsDriver, url: str, transports: list[str]
) -> None:
    client = await js.connect(url, transports=transports, acks="echo", auth={"ask": True})
    assert await client.receive("welcome") == [7, b"\x07"]
    events = [report.event for report in client.log if report.event != "upgrade"]
    assert events[:2] == ["connect", "who"]


async def test_the_transport_is_the_one_in_use_now(js: JsDriver, url: str) -> None:
    polling = await js.connect(url, transports=["polling"])
    assert await polling.call("how") == ["polling", []]
    upgrading = await js.connect(url)
    await upgrading.receive("upgrade")
    assert await upgrading.call("how") == ["websocket", []]


async def test_sockets_of_one_connection_find_each_other(js: JsDriver, url: str) -> None:
    one = await js.connect(url, forceNew=False)
    other = await js.connect(url, namespace="/other", forceNew=False)
    await js.connect(url, namespace="/other")
    assert (await one.call("how"))[1] == ["/other"]
    assert (await other.call("how"))[1] == ["/"]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_close_ends_all_sockets_of_a_connection(
    js: JsDriver, url: str, transport: str
) -> None:
    options: Any = {"transports": [transport], "forceNew": False}
    one = await js.connect(url, **options)
    other = await js.connect(url, namespace="/other", **options)
    await other.emit("away")
    assert await one.receive("disconnect") == ["io server disconnect"]
    assert await other.receive("disconnect") == ["io server disconnect"]
    await one.receive("engine_close")


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_close_ends_the_session(url: str, transport: Any) -> None:
    async with raw(url, transport) as client:
        await client.join()
        await client.join("/other")
        await client.send('42["away"]')
        assert [await client.receive() for _ in range(3)] == ["41", "41/other,", None]


async def test_a_call_of_many_hears_those_who_answer(js: JsDriver, url: str) -> None:
    asker = await js.connect(url)
    polling = await js.connect(url, transports=["polling"], acks={"with": ["p", b"\x01"]})
    echo = await js.connect(url, version=3, transports=["websocket"], acks="echo")
    assert await asker.call("count", 3600.5) == [{polling.id: ["p", b"\x01"], echo.id: [1]}, []]
    silent = await js.connect(url, acks="never")
    [answers, missing] = await asker.call("count", 0.5)
    assert missing[-1] == silent.id
    assert answers.keys() == {polling.id, echo.id} - {*missing}


async def test_who_is_between_two_polls_misses_a_volatile_event(url: str, tmp_path: Path) -> None:
    async with raw(url) as witness, raw(url, "polling") as client:
        await witness.join("/calm")
        await client.join()
        await ask(witness, '["move",1]')
        assert await dropped(tmp_path) == 1
        await client.send('427["how"]')
        assert await client.receive() == '437["polling",[]]'
        polling = asyncio.create_task(client.receive())
        while not polling.done():
            await ask(witness, '["move",1]')
        assert await polling == '42["moved","x"]'


async def test_who_does_not_read_misses_volatile_events_and_stays(url: str, tmp_path: Path) -> None:
    """A client that reads misses none that comes after it has read those before."""
    async with raw(url) as witness, raw(url) as client:
        await witness.join("/calm")
        await client.join()
        with deaf(url):
            async with deadline():
                while await ask(witness, '["here"]') != "43/calm,7[2]":
                    pass
                while not await dropped(tmp_path):
                    await ask(witness, '["move",100000]')
                    assert await client.receive() == f'42["moved","{"x" * 100000}"]'
            assert await ask(witness, '["here"]') == "43/calm,7[2]"
