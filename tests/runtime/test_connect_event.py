"""The gateway event `connect`, which runs when a client has just been accepted."""

from __future__ import annotations

import asyncio

import pytest

from gateway.testing import Refused
from tests.deadline import until

WITHOUT_A_CHAIN = """
namespaces:
  /:
    packet_middleware: [plugin.packets]
    routes:
      connect: {use: plugin.welcome%s}
      disconnecting: plugin.leaving
      say: plugin.say
  /watch:
    routes: {happened: plugin.happened}
"""
CONFIG = WITHOUT_A_CHAIN.replace("packet_m", "connection_middleware: [plugin.chain]\n    packet_m")

CHAIN = """
import asyncio

seen = asyncio.Queue()

async def chain(ctx, next):
    await ctx.socket.emit("early")
    await next()
    seen.put_nowait("unwound")

async def packets(ctx, next):
    assert ctx.event == "say"
    await next()

async def leaving(ctx, reason):
    seen.put_nowait(reason)

async def say(ctx, text):
    seen.put_nowait(text)
    return text

async def happened(ctx, count):
    return [await seen.get() for _ in range(count)]
"""

ASKING = """
async def welcome(ctx):
    seen.put_nowait([ctx.event, ctx.args, ctx.socket.rooms == {ctx.socket.id}])
    await ctx.socket.emit("welcome", *await ctx.socket.call("who?", timeout=3600))
"""

ENDLESS = """
async def welcome(ctx):
    try:
        await asyncio.Event().wait()
    except BaseException as error:
        seen.put_nowait(type(error).__name__)
        raise
"""


@pytest.mark.parametrize("config", [CONFIG, WITHOUT_A_CHAIN], ids=["chain", "no chain"])
async def test_it_may_ask_the_client_that_has_just_come(scenario, config, caplog):
    async with scenario(config % "", plugin=CHAIN + ASKING) as gateway:
        watcher = await gateway.connect("/watch")
        client = await gateway.connect()
        if config is CONFIG:
            assert (await client.receive()).name == "early"
        question = await client.receive()
        assert question.name == "who?"
        await client.answer(question, "ada")
        assert (await client.receive("welcome")).args == ["ada"]
        assert await watcher.call("happened", 1) == [[["connect", [], True]]]
    assert caplog.messages == []


@pytest.mark.parametrize("config", [CONFIG, WITHOUT_A_CHAIN], ids=["chain", "no chain"])
async def test_it_starts_before_the_first_packet(scenario, config):
    async with scenario(config % "", plugin=CHAIN + ASKING) as gateway:
        watcher = await gateway.connect("/watch")
        client = await gateway.connect()
        assert await client.call("say", "hello") == ["hello"]
        assert await watcher.call("happened", 2) == [[["connect", [], True], "hello"]]


async def test_a_handler_that_fails_is_logged_and_ends_nothing(scenario, caplog):
    plugin = CHAIN + "\nasync def welcome(ctx):\n    1 / 0\n"
    async with scenario(CONFIG % "", plugin=plugin) as gateway:
        client = await gateway.connect()
        assert await client.call("say", "hello") == ["hello"]
    [message] = caplog.messages
    assert message == "ZeroDivisionError in the route of the gateway event 'connect'"


async def test_a_handler_that_takes_too_long_is_cancelled_and_logged(scenario, caplog):
    async with scenario(CONFIG % ", timeout: 10ms", plugin=CHAIN + ENDLESS) as gateway:
        watcher = await gateway.connect("/watch")
        client = await gateway.connect()
        assert await watcher.call("happened", 1) == [["CancelledError"]]
        assert await client.call("say", "still here") == ["still here"]
    assert caplog.messages == ["TimeoutError in the route of the gateway event 'connect'"]


async def test_a_client_that_leaves_before_it_answers_is_no_fault(scenario, caplog):
    async with scenario(CONFIG % "", plugin=CHAIN + ASKING) as gateway:
        watcher = await gateway.connect("/watch")
        client = await gateway.connect()
        await client.receive("who?")
        await client.lose()
        happened = [["connect", [], True], "transport close", "unwound"]
        assert await watcher.call("happened", 3) == [happened]
        await until(lambda: gateway._server.live.packets == 0)
    assert caplog.messages == []


async def test_a_connection_error_of_the_plugin_is_logged(scenario, caplog):
    plugin = CHAIN + "\nasync def welcome(ctx):\n    raise ConnectionRefusedError('the database')\n"
    async with scenario(CONFIG % "", plugin=plugin) as gateway:
        await gateway.connect()
    [message] = caplog.messages
    assert message == "ConnectionRefusedError in the route of the gateway event 'connect'"


async def test_on_disconnect_cancel_ends_it_with_its_client(scenario, caplog):
    async with scenario(CONFIG % ", on_disconnect: cancel", plugin=CHAIN + ENDLESS) as gateway:
        watcher = await gateway.connect("/watch")
        client = await gateway.connect()
        await client.lose()
        [happened] = await watcher.call("happened", 3)
        assert sorted(happened) == ["CancelledError", "transport close", "unwound"]
    assert caplog.messages == []


@pytest.mark.parametrize("config", [CONFIG, WITHOUT_A_CHAIN], ids=["chain", "no chain"])
async def test_it_may_send_the_client_away(scenario, config, caplog):
    plugin = CHAIN + "\nasync def welcome(ctx):\n    await ctx.socket.disconnect()\n"
    async with scenario(config % "", plugin=plugin) as gateway:
        watcher = await gateway.connect("/watch")
        client = await gateway.connect()
        await client.wait_disconnected()
        expected = ["server namespace disconnect", "unwound"][: 2 if config is CONFIG else 1]
        assert await watcher.call("happened", len(expected)) == [expected]
    assert caplog.messages == []


async def test_handlers_that_wait_are_bounded_and_given_back(scenario):
    """A client that rejoins again and again leaves no more handlers behind than `handlers`."""
    config = "limits: {handlers: 5}\n" + WITHOUT_A_CHAIN % ", timeout: 1h"
    plugin = CHAIN.replace("return text", "release.set()") + (
        "\nrelease = asyncio.Event()\nasync def welcome(ctx):\n    await release.wait()\n"
    )
    async with scenario(config, plugin=plugin) as gateway:
        clients = [await gateway.connect() for _ in range(4)]
        with pytest.raises(Refused) as refused:
            await gateway.connect()
        assert refused.value.data == {"code": "busy", "data": {"retry_after": 1}}
        await clients[0].emit("say", "go on")
        await until(lambda: gateway._server.dispatcher.in_flight.count == 0)
        await gateway.connect()


SLOW = """
async def chain(ctx, next):
    if ctx.socket.handshake.auth:
        ctx.service.door.knocked.set()
        await ctx.service.door.opened.wait()
    await next()

async def knocked(ctx):
    await ctx.service.door.knocked.wait()

async def open(ctx):
    ctx.service.door.opened.set()

async def welcome(ctx):
    await ctx.socket.emit("welcome", "old")
"""

DOOR = """
import asyncio

class Door:
    def __init__(self):
        self.knocked, self.opened = asyncio.Event(), asyncio.Event()
"""

SLOWLY = """
services: {door: door.Door}
namespaces:
  /:
    connection_middleware: [plugin.chain]
    routes: {connect: plugin.welcome, knocked: plugin.knocked, open: plugin.open}
"""


async def test_the_newest_generation_welcomes(scenario):
    """The chain stays in the generation that it entered; gateway events enter the newest."""
    async with scenario(SLOWLY, plugin=SLOW, door=DOOR) as gateway:
        first = await gateway.connect()
        assert (await first.receive("welcome")).args == ["old"]
        second = gateway.client(auth={"slow": True})
        connecting = asyncio.create_task(second.connect())
        await first.call("knocked")
        scenario(SLOWLY, plugin=SLOW.replace('"old"', '"new"'), door=DOOR)
        await gateway.reload()
        await first.emit("open")
        await connecting
        assert (await second.receive("welcome")).args == ["new"]
