"""What a plugin can ask a socket and tell it: its state, its transport, its connection."""

from __future__ import annotations

import asyncio

import pytest

from gateway.testing import Refused
from tests.deadline import until
from tests.runtime.doing import DO

CONFIG = """
namespaces:
  /:
    connection_middleware: [plugin.chain]
    routes: {do: plugin.do, disconnect: plugin.left}
  /other:
    connection_middleware: [plugin.chain]
    routes: {do: plugin.do}
  /slow:
    connection_middleware: [plugin.wait]
"""

PLUGIN = (
    DO
    + """
import asyncio

seen = []

async def chain(ctx, next):
    seen.append((ctx.socket.connected, ctx.socket.transport))
    await ctx.socket.volatile.emit("too early")
    await next()
    seen.append((ctx.socket.connected, ctx.socket.transport, ctx.socket.siblings))

async def wait(ctx, next):
    await asyncio.Event().wait()

async def left(ctx, reason):
    seen.append(reason)
    await ctx.socket.disconnect(close=True)
"""
)


async def do(client, code):
    [answer] = await client.call("do", code)
    return answer


async def test_a_socket_knows_whether_it_is_connected_and_how(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await gateway.connect("/other")
        state = "return [ctx.socket.connected, ctx.socket.transport]"
        assert await do(client, state) == [True, "websocket"]
        watcher = await gateway.connect()
        await client.disconnect()
        await until(lambda: gateway._server.live.chains == 1)
        assert await do(watcher, "return seen") == [
            [False, "websocket"],
            [False, "websocket"],
            [False, None, []],
        ]


async def test_siblings_are_the_other_sockets_of_the_same_connection(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        ada = await gateway.connect()
        siblings = "return [[s.namespace, s.id] for s in ctx.socket.siblings]"
        assert await do(ada, siblings) == []
        await gateway.connect("/other")
        other = await gateway.connect("/other", beside=ada)
        await gateway.client("/slow", beside=ada).send("0/slow,")  # never accepted
        assert await do(ada, siblings) == [["/other", other.id]]
        assert await do(other, siblings) == [["/", ada.id]]
        await other.disconnect()
        assert await do(ada, siblings) == []


async def test_disconnect_ends_one_socket_of_a_connection(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        ada = await gateway.connect()
        other = await gateway.connect("/other", beside=ada)
        await ada.emit("do", "await ctx.socket.disconnect()")
        await ada.wait_disconnected()
        await until(lambda: gateway._server.live.chains == 1)
        assert await do(other, "return seen[-2:]") == [
            "server namespace disconnect",
            [False, None, []],
        ]


async def test_disconnect_with_close_ends_the_connection(scenario, caplog):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        ada, watcher = await gateway.connect(), await gateway.connect()
        other = await gateway.connect("/other", beside=ada)
        slow = asyncio.create_task(gateway.connect("/slow", beside=ada))
        await until(lambda: gateway._server.hub.rooms.counts.get("/slow"))
        await other.emit("do", "await ctx.socket.disconnect(close=True)")
        await ada.wait_disconnected()
        await other.wait_disconnected()
        with pytest.raises(Refused) as refused:
            await slow
        assert refused.value.data == {"code": "refused"}
        assert ada._carrier.is_closed
        assert len(gateway._server.hub.rooms) == 1
        assert "server namespace disconnect" in await do(watcher, "return seen")
    assert caplog.messages == []


async def test_close_before_next_refuses_and_closes(scenario):
    plugin = PLUGIN.replace("await asyncio.Event().wait()", "await ctx.socket.disconnect(True)")
    async with scenario(CONFIG, plugin=plugin) as gateway:
        ada = await gateway.connect()
        slow = gateway.client("/slow", beside=ada)
        await slow.send("0/slow,")
        await ada.wait_disconnected()
        assert ada._carrier.is_closed
        await until(lambda: len(gateway._server.hub.rooms) == 0)


async def test_disconnect_sockets_may_close_too(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        ada, eve = await gateway.connect(), await gateway.connect()
        other = await gateway.connect("/other", beside=ada)
        await eve.emit("do", "await ctx.socket.broadcast.disconnect_sockets(close=True)")
        await other.wait_disconnected()
        assert ada._carrier.is_closed
        assert await do(eve, "return len(await ctx.namespace.sockets())") == 1
