"""Volatile events, which only clients get that are ready for them."""

from __future__ import annotations

import pytest

from tests.runtime.doing import DO, heard

CONFIG = """
namespaces:
  /:
    connection_middleware: [plugin.chain]
    routes: {do: plugin.do}
"""

PLUGIN = (
    DO
    + """
async def chain(ctx, next):
    await ctx.socket.volatile.emit("too early")
    await ctx.socket.join("room")
    await next()
"""
)


def dropped(gateway):
    return gateway._server.hub.dropped


@pytest.mark.parametrize(
    "target", ["namespace", "namespace.to('room')", "socket.broadcast", "socket.to('room')"]
)
async def test_a_client_that_does_not_read_misses_it(scenario, target):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        sender, ready, slow = [await gateway.connect() for _ in range(3)]
        before = dropped(gateway)
        slow.pause()
        code = f"await ctx.{target}.emit('kept'); await ctx.{target}.volatile.emit('volatile')"
        await sender.call("do", code)
        slow.resume()
        assert await heard(ready) == ["kept", "volatile"]
        assert await heard(slow) == ["kept"]
        assert dropped(gateway) == before + 1


async def test_one_socket_misses_it_while_it_does_not_read(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client, slow = await gateway.connect(), await gateway.connect()
        assert dropped(gateway) == 2  # what was emitted before they were accepted
        slow.pause()
        code = "for s in await ctx.namespace.sockets(): await s.volatile.emit('volatile')"
        await client.call("do", code)
        slow.resume()
        assert await heard(client) == ["volatile"]
        assert await heard(slow) == []
        assert dropped(gateway) == 3


async def test_it_is_an_event_like_any_other(scenario, caplog):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await gateway.connect()
        await client.call("do", "await ctx.socket.volatile.emit('move', 1, b'2')")
        assert (await client.receive("move")).args == [1, b"2"]
        [answer] = await client.call("do", "await ctx.socket.volatile.emit('connect')")
        assert answer["error"]["code"] == "internal"
        assert "event 'connect' is reserved" in caplog.text


async def test_a_socket_that_is_gone_is_sent_nothing(scenario, caplog):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await gateway.connect()
        code = "v = ctx.socket.volatile; await ctx.socket.disconnect(); await v.emit('late')"
        await client.emit("do", code)
        await client.wait_disconnected()
    assert caplog.messages == []
