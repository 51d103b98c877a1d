"""Rooms, broadcasts and calls, as plugins use them."""

from __future__ import annotations

import pytest

from gateway.testing import Event
from tests.runtime.doing import DO, heard

CONFIG = """
namespaces:
  /:
    connection_middleware: [plugin.chain]
    routes: {do: plugin.do}
  /other:
    connection_middleware: [plugin.chain]
    routes: {do: plugin.do}
"""

PLUGIN = (
    DO
    + """
async def chain(ctx, next):
    ctx.socket.data["name"] = ctx.socket.handshake.auth.get("name")
    for room in ctx.socket.handshake.auth.get("rooms", ()):
        await ctx.socket.join(room)
    await next()
"""
)


async def connect(gateway, *rooms, namespace="/"):
    return await gateway.connect(namespace, auth={"name": rooms[0], "rooms": list(rooms)})


async def test_a_broadcast_reaches_each_socket_of_its_rooms_once(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        both = await connect(gateway, "red", "blue")
        red = await connect(gateway, "red")
        none = await connect(gateway, "green")
        other = await connect(gateway, "red", namespace="/other")
        await none.call("do", "await ctx.namespace.to('red', 'blue').emit('hi')")
        assert await heard(both) == ["hi"]
        assert await heard(red) == ["hi"]
        assert await heard(none) == []
        assert await heard(other) == []


async def test_socket_to_leaves_the_sender_out(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        sender, other = await connect(gateway, "red"), await connect(gateway, "red")
        await sender.call("do", "await ctx.socket.to('red').emit('hi')")
        assert await heard(sender) == []
        assert await heard(other) == ["hi"]


async def test_except_leaves_rooms_out(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        red, blue = await connect(gateway, "red"), await connect(gateway, "blue")
        await red.call("do", "await ctx.namespace.except_('blue').emit('hi')")
        assert await heard(red) == ["hi"]
        assert await heard(blue) == []


async def test_the_gateway_reaches_other_namespaces(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        here = await connect(gateway, "red")
        there = await connect(gateway, "red", namespace="/other")
        await here.call("do", "await ctx.gateway.of('other').emit('hi', b'\\x00')")
        assert (await there.receive()).args == [b"\x00"]
        assert await heard(here) == []


async def test_a_socket_that_left_a_room_or_the_gateway_gets_nothing(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        stays, leaves = await connect(gateway, "red"), await connect(gateway, "red")
        gone = await connect(gateway, "red")
        await gone.disconnect()
        await leaves.call("do", "await ctx.socket.leave('red')")
        await stays.call("do", "await ctx.namespace.to('red').emit('hi')")
        assert await heard(stays) == ["hi"]
        assert await heard(leaves) == []
        assert [s async for s in names(stays, "ctx.namespace.to('red')")] == ["red"]


async def names(client, target):
    for name in (
        await client.call("do", f"return [s.data['name'] for s in await {target}.sockets()]")
    )[0]:
        yield name


async def test_a_room_named_like_another_socket_cannot_be_entered(scenario, caplog):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        victim, spy = await connect(gateway, "a"), await connect(gateway, "b")
        [answer] = await spy.call("do", f"await ctx.socket.join('{victim.id}')")
        assert answer["error"]["code"] == "forbidden_room"
        assert caplog.messages == []


async def test_disconnect_sockets_ends_those_meant_and_no_other(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        red, blue = await connect(gateway, "red"), await connect(gateway, "blue")
        await blue.call("do", "await ctx.namespace.to('red').disconnect_sockets()")
        await red.wait_disconnected()
        assert await heard(blue) == []


async def test_call_returns_the_arguments_of_the_clients_ack(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await connect(gateway, "red")
        await client.emit("do", "await ctx.socket.emit('got', await ctx.socket.call('q', 1))")
        question = await client.receive("q")
        assert question.args == [1]
        await client.answer(question, "a", b"\x01")
        assert (await client.receive("got")).args == [["a", b"\x01"]]


async def test_call_raises_when_no_ack_comes_and_when_the_client_leaves(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client, watcher = await connect(gateway, "red"), await connect(gateway, "blue")
        code = (
            "\n    try: await ctx.socket.call('q', timeout={})"
            "\n    except Exception as error:"
            "\n        await ctx.namespace.emit('raised', type(error).__name__, str(error))"
        )
        await client.emit("do", code.format(0.01))
        assert (await watcher.receive("raised")).args == ["TimeoutError", ""]
        await client.emit("do", code.format(60))
        await client.receive("q")
        await client.receive("q")
        await client.lose()
        assert (await watcher.receive("raised")).args == [
            "ConnectionError",
            "the client left before it answered",
        ]


async def test_an_ack_nobody_asked_for_is_ignored(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await connect(gateway, "red")
        for ack in (0, 1, 99):
            await client.answer(Event("x", [], ack), "spoofed")
        assert await heard(client) == []


async def test_reserved_events_cannot_be_emitted(scenario, caplog):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await connect(gateway, "red")
        for event in ("connect", "disconnect", "newListener"):
            [answer] = await client.call("do", f"await ctx.socket.emit('{event}')")
            assert answer["error"]["code"] == "internal"
            assert f"event '{event}' is reserved" in caplog.text
        assert await heard(client) == []


async def test_broadcast_and_except_leave_the_sender_out(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        sender, blue = await connect(gateway, "red"), await connect(gateway, "blue")
        green = await connect(gateway, "green")
        await sender.call("do", "await ctx.socket.broadcast.emit('all')")
        await sender.call("do", "await ctx.socket.except_('blue').emit('not blue')")
        await sender.call("do", "await ctx.socket.except_(['blue', 'green']).emit('nobody')")
        assert await heard(sender) == []
        assert await heard(blue) == ["all"]
        assert await heard(green) == ["all", "not blue"]


@pytest.mark.parametrize("rooms", ["'red', 'blue'", "['red', 'blue']", "{'red'}, 'blue'"])
async def test_rooms_come_one_by_one_or_together(scenario, rooms):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client, other = await connect(gateway, "x"), await connect(gateway, "y")
        joined = (
            f"await ctx.socket.join({rooms}); return sorted(ctx.socket.rooms - {{ctx.socket.id}})"
        )
        assert await client.call("do", joined) == [["blue", "red", "x"]]
        await other.call("do", f"await ctx.namespace.to({rooms}).emit('to')")
        await other.call("do", f"await ctx.socket.to({rooms}).emit('socket to')")
        await other.call("do", f"await ctx.namespace.except_({rooms}).emit('except')")
        assert await heard(client) == ["to", "socket to"]
        assert await heard(other) == ["except"]
        left = (
            f"await ctx.socket.leave({rooms}); return sorted(ctx.socket.rooms - {{ctx.socket.id}})"
        )
        assert await client.call("do", left) == [["x"]]


async def test_no_room_is_nobody(scenario):
    """An empty list that somebody worked out is not everybody."""
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        client = await connect(gateway, "red")
        for target in ("namespace.to([])", "namespace.to()", "socket.to(())"):
            await client.call("do", f"await ctx.{target}.emit('hi')")
        await client.call("do", "await ctx.namespace.to([]).to('red').emit('red')")
        assert await heard(client) == ["red"]


async def test_all_rooms_are_joined_or_none(scenario, tmp_path):
    config = "limits: {rooms_per_socket: 3}" + CONFIG
    async with scenario(config, plugin=PLUGIN) as gateway:
        client, other = await connect(gateway, "a"), await connect(gateway, "b")
        rooms = "return sorted(ctx.socket.rooms - {ctx.socket.id})"
        for names, code in (
            (["b", "c", "d"], "too_many_rooms"),
            (["b", other.id], "forbidden_room"),
        ):
            [answer] = await client.call("do", f"await ctx.socket.join({names})")
            assert answer["error"]["code"] == code
            assert await client.call("do", rooms) == [["a"]]
        await client.call("do", "await ctx.socket.join('a', 'b', 'c', 'c', ctx.socket.id)")
        assert await client.call("do", rooms) == [["a", "b", "c"]]
        assert gateway._server.engine.limits_met.counts["rooms_per_socket"] == 1


async def test_a_target_joins_and_leaves(scenario):
    config = "limits: {rooms_per_socket: 3}" + CONFIG
    async with scenario(config, plugin=PLUGIN) as gateway:
        red, blue = await connect(gateway, "red"), await connect(gateway, "blue")
        full = await connect(gateway, "red", "x", "y")
        await blue.call("do", "await ctx.namespace.to('red').join(['new', 'newer'])")
        await blue.call("do", "await ctx.namespace.to('new').emit('hi')")
        assert await heard(red) == ["hi"]
        assert await heard(blue) == []
        assert await heard(full) == []
        assert gateway._server.engine.limits_met.counts["rooms_per_socket"] == 1
        await blue.call("do", "await ctx.namespace.leave('new', 'red')")
        rooms = "return sorted(ctx.socket.rooms - {ctx.socket.id})"
        assert await red.call("do", rooms) == [["newer"]]
        assert await full.call("do", rooms) == [["x", "y"]]


async def test_a_target_cannot_join_the_room_of_a_socket(scenario):
    async with scenario(CONFIG, plugin=PLUGIN) as gateway:
        victim, spy = await connect(gateway, "a"), await connect(gateway, "b")
        [answer] = await spy.call("do", f"await ctx.namespace.join('c', '{victim.id}')")
        assert answer["error"]["code"] == "forbidden_room"
        assert await spy.call("do", "return len(await ctx.namespace.to('c').sockets())") == [0]
