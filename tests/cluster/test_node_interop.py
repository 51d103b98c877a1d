"""Node servers with the official adapter and members of ours in one cluster: each way, each row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import socketio

from gateway.cluster.accept import Accept, Rule
from gateway.testing import TestClient
from tests.cluster.node_server import NodeServer, node_server
from tests.cluster.redis_members import RedisMember, members
from tests.deadline import until
from tests.gateway_files import write
from tests.programs.redis import Redis, redis
from tests.runtime.doing import DO, heard

CONFIG = """
namespaces:
  /:
    user: data.user
    connection_middleware: [plugin.chain]
    routes: {do: plugin.do, cluster: plugin.told}
  /other: {}
"""

PLUGIN = (
    DO
    + """
TOLD = []

async def chain(ctx, next):
    ctx.socket.data["name"] = ctx.socket.handshake.auth.get("name")
    ctx.socket.data["user"] = ctx.socket.handshake.auth.get("user")
    await ctx.socket.join(ctx.socket.handshake.auth.get("rooms", []))
    await next()

async def told(ctx, event: str, *args):
    await ctx.namespace.to("at-" + ctx.gateway.member.tag).emit("told", event, *args)
    return "sockgw"
"""
)


class Cluster:
    """A member with the client `ada`, a Node server with `eve`, and a second member."""

    def __init__(self, redis: Redis, ours: list[RedisMember], node: NodeServer) -> None:
        self.redis, self.node = redis, node
        self.one, self.two = ours
        self.ada: TestClient

    async def connect(self) -> None:
        self.ada = await self.one.connect(auth={"name": "ada", "rooms": ["red", "at-tag-0"]})
        await self.node.run("io.eve = await connect({name: 'eve', rooms: ['red', 'blue']})")

    async def eve_hears(self, *expected: list[Any]) -> None:
        """Wait until eve has heard so many events, and compare them."""
        await self.node.until(f"io.eve.heard.length >= {len(expected)}")
        assert await self.node.run("return io.eve.heard.splice(0)") == list(expected)


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    file = write(tmp_path, CONFIG, plugin=PLUGIN)
    async with redis() as running, node_server(running) as node, members(file, running) as ours:
        found = Cluster(running, ours, node)
        await found.connect()
        yield found


# From Node to us


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("io.emit('hi', 1, 'x', null, {a: [true]})", [1, "x", None, {"a": [True]}]),
        ("io.to('red').emit('hi')", []),
        ("io.to('red').to('blue').emit('hi')", []),
        ("io.except('blue').emit('hi')", []),
        ("io.volatile.emit('hi')", []),
        ("io.emit('hi', Buffer.from('abc'), {b: Buffer.from('d')})", [b"abc", {"b": b"d"}]),
        ("io.emit('hi', new Date(0), undefined)", ["1970-01-01T00:00:00.000Z", None]),
        ("emitter.to('red').emit('hi', 2)", [2]),
        ("emitter.except('blue').emit('hi', Buffer.from('x'))", [b"x"]),
    ],
)
async def test_events_of_node_arrive(cluster: Cluster, code: str, expected: list[Any]) -> None:
    await cluster.node.run(code)
    assert (await cluster.ada.receive("hi")).args == expected


async def test_events_for_others_do_not_arrive(cluster: Cluster) -> None:
    await cluster.node.run("io.to('blue').emit('no'); io.except('red').emit('no')")
    await cluster.node.run("io.of('/other').emit('no'); io.emit('hi')")
    await cluster.ada.receive("hi")
    assert await heard(cluster.ada) == []


async def test_node_finds_our_sockets(cluster: Cluster) -> None:
    found = await cluster.node.run(
        "return (await io.in('red').fetchSockets()).map(each =>"
        " [each.id, each.data.name, [...each.rooms].sort(), each.handshake.auth])"
    )
    ours = [each for each in found if each[1] == "ada"]
    auth = {"name": "ada", "rooms": ["red", "at-tag-0"]}
    assert ours == [[cluster.ada.id, "ada", sorted([cluster.ada.id, *auth["rooms"]]), auth]]
    assert len(found) == 2
    assert await cluster.node.run("return (await io.in('none').fetchSockets()).length") == 0


async def test_node_learns_of_our_rooms(cluster: Cluster) -> None:
    rooms = await cluster.node.run("return [...await io.of('/').adapter.allRooms()]")
    assert {"red", "blue", cluster.ada.id} <= set(rooms)


@pytest.mark.parametrize("who", ["io", "emitter"])
async def test_node_moves_and_ends_our_sockets(cluster: Cluster, who: str) -> None:
    ada = cluster.ada
    await cluster.node.run(f"{who}.in('red').socketsJoin(['green', 'lime'])")
    await until(lambda: cluster.one.sockets_here("lime"))
    await cluster.node.run("io.to('green').emit('green')")
    await ada.receive("green")
    await cluster.node.run(f"{who}.in('red').socketsLeave('green')")
    await cluster.node.run("io.to('green').emit('no'); io.emit('hi')")
    await ada.receive("hi")
    assert await heard(ada) == []
    await cluster.node.run(f"{who}.in('red').disconnectSockets()")
    await until(lambda: not cluster.one.sockets_here())


async def test_events_between_servers_run_our_cluster_route(cluster: Cluster) -> None:
    await cluster.node.run("io.serverSideEmit('shout', 1, {a: 2})")
    assert (await cluster.ada.receive("told")).args == ["shout", 1, {"a": 2}]
    await cluster.node.run("emitter.serverSideEmit('shout', 'x')")
    assert (await cluster.ada.receive("told")).args == ["shout", "x"]


async def test_what_our_cluster_route_returns_is_the_ack(cluster: Cluster) -> None:
    code = "return await io.serverSideEmitWithAck('ask', 1)"
    assert await cluster.node.run(code) == ["sockgw", "sockgw"]


async def test_node_gets_the_acks_of_our_clients(cluster: Cluster) -> None:
    asked = asyncio.create_task(
        cluster.node.run("return await io.timeout(60000).to('red').emitWithAck('ask', 1)")
    )
    call = await cluster.ada.receive("ask")
    assert call.args == [1]
    await cluster.ada.answer(call, "ada")
    assert sorted(await asked) == ["ada", "eve"]


# From us to Node


async def test_our_events_arrive_at_node(cluster: Cluster) -> None:
    everyone = cluster.one.gateway.of("/")
    await everyone.emit("hi", 1, "x", None, {"a": [True]})
    await everyone.to("blue").emit("blue", 2)
    await everyone.to("none").emit("no")
    await everyone.except_("red").emit("no")
    await everyone.to("red").except_("none").emit("red")
    await cluster.eve_hears(["hi", 1, "x", None, {"a": [True]}], ["blue", 2], ["red"])
    await everyone.emit("bytes", b"abc")
    await cluster.eve_hears(["bytes", {"type": "Buffer", "data": [97, 98, 99]}])
    await everyone.volatile.emit("quick")
    await cluster.eve_hears(["quick"])


async def test_we_find_the_sockets_of_node(cluster: Cluster) -> None:
    everyone = cluster.one.gateway.of("/")
    found = await everyone.to("blue").sockets()
    assert found.missing == ()
    (eve,) = found
    assert (eve.data["name"], eve.rooms) == ("eve", {eve.id, "red", "blue"})
    assert await everyone.to("red").count() == 2
    assert await everyone.to("none").count() == 0
    await eve.emit("hi", 1)
    await cluster.eve_hears(["hi", 1])


async def test_we_move_and_end_the_sockets_of_node(cluster: Cluster) -> None:
    everyone = cluster.one.gateway.of("/")
    await everyone.to("blue").join("green")
    await everyone.to("green").emit("green")
    await everyone.to("blue").leave("green")
    await everyone.to("green").emit("no")
    await everyone.emit("hi")
    await cluster.eve_hears(["green"], ["hi"])
    await everyone.to("blue").disconnect_sockets()
    await cluster.node.until("!io.eve.connected")
    assert cluster.ada.connected


async def test_what_we_publish_is_heard_in_node(cluster: Cluster) -> None:
    await cluster.one.gateway.publish("shout", 1, {"a": 2})
    await cluster.node.until("io.heard.length")
    assert await cluster.node.run("return io.heard") == [[1, {"a": 2}]]


async def test_we_get_the_acks_of_nodes_clients(cluster: Cluster) -> None:
    calling = asyncio.create_task(cluster.one.gateway.of("/").to("red").call("ask", 1))
    await cluster.ada.answer(await cluster.ada.receive("ask"), "ada")
    found = await calling
    assert found.missing == found.missing_members == ()
    assert sorted(answer for (answer,) in found.answers.values()) == ["ada", "eve"]
    found = await cluster.one.gateway.of("/").to("blue").call("ask", 1)
    assert found.answers == {"node-1": ["eve"]}
    room = "'\\0user:xxxxxxxxxxxxxx'"  # as long as an id
    await cluster.node.run(f"io.socketsJoin({room})")
    await cluster.node.until(f"io.of('/').adapter.rooms.has({room})")
    found = await cluster.one.gateway.of("/").user("x" * 14).call("ask", 1)
    assert found.answers == {"node-1": ["eve"]}


# Users


@pytest.mark.parametrize(
    "code",
    [
        "io.to('\\0user:ann').emit('hi', 1)",
        "emitter.to('\\0user:ann').emit('hi', 1)",
        "io.except('\\0user:bob').emit('hi', 1)",
    ],
)
async def test_node_can_send_to_a_user(cluster: Cluster, code: str) -> None:
    ann = await cluster.one.connect(auth={"user": "ann"})
    bob = await cluster.two.connect(auth={"user": "bob"})
    await cluster.node.run(code + "; emitter.emit('end')")
    assert (await ann.receive()).args == [1]
    assert (await ann.receive()).name == "end"
    assert (await bob.receive()).name == "end"


async def test_a_user_is_a_target_over_redis(cluster: Cluster) -> None:
    here = await cluster.one.connect(auth={"user": "ann"})
    there = await cluster.two.connect(auth={"user": "ann"})
    ann = cluster.one.gateway.of("/").user("ann")
    await cluster.one.gateway.of("/").except_user("ann").emit("others")
    await ann.emit("hi")
    for client in (here, there):
        assert (await client.receive()).name == "hi"
    await cluster.eve_hears(["others"])
    assert {each.id: each.user for each in await ann.sockets()} == {
        here.id: "ann",
        there.id: "ann",
    }


@pytest.mark.parametrize(
    "code",
    [
        "io.socketsJoin('\\0user:ann')",
        "emitter.socketsJoin('\\0user:ann')",
        "io.in('red').socketsJoin(['green', '\\0user:ann'])",
    ],
)
async def test_nobody_on_redis_makes_a_socket_a_user(cluster: Cluster, code: str) -> None:
    ann = await cluster.one.connect(auth={"user": "ann"})
    await cluster.node.run(code)
    await cluster.node.until("io.of('/').adapter.rooms.has('\\0user:ann')")  # we have heard it too
    await cluster.node.run("emitter.socketsLeave('\\0user:ann')")
    await cluster.node.run("emitter.to('\\0user:ann').emit('hi'); emitter.emit('end')")
    assert (await cluster.ada.receive()).name == "end"
    assert [(await ann.receive()).name for _ in range(2)] == ["hi", "end"]
    assert cluster.one.sockets_here("green") == 0


async def test_python_makes_no_socket_a_user(
    cluster: Cluster, manager: socketio.AsyncRedisManager
) -> None:
    ann = await cluster.one.connect(auth={"user": "ann"})
    await manager.enter_room(cluster.ada.id, "/", "\0user:ann")
    await manager.leave_room(ann.id, "/", "\0user:ann")
    await manager.close_room("\0user:ann")
    await manager.emit("hi", 1, room="\0user:ann")
    await manager.emit("end", 1)
    assert (await cluster.ada.receive()).name == "end"
    assert [(await ann.receive()).name for _ in range(2)] == ["hi", "end"]
    assert await cluster.one.gateway.of("/").user("ann").count() == 1


async def test_node_is_not_told_the_rooms_of_users(cluster: Cluster) -> None:
    await cluster.one.connect(auth={"user": "ann"})
    rooms = await cluster.node.run("return [...await io.of('/').adapter.allRooms()]")
    assert not [each for each in rooms if each.startswith("\0")]
    found = await cluster.node.run(
        "return (await io.in('\\0user:ann').fetchSockets()).map(each => [...each.rooms])"
    )
    assert [len(each) for each in found] == [1]


# Others


@pytest_asyncio.fixture
async def manager(cluster: Cluster) -> AsyncIterator[socketio.AsyncRedisManager]:
    """A write-only manager of python-socketio, which does not close its connection itself."""
    manager = socketio.AsyncRedisManager(cluster.redis.url, write_only=True)
    yield manager
    await manager.redis.aclose()


async def test_pythons_write_only_manager_is_heard(
    cluster: Cluster, manager: socketio.AsyncRedisManager
) -> None:
    ada = cluster.ada
    await manager.emit("hi", {"a": 1}, room="red")
    assert (await ada.receive("hi")).args == [{"a": 1}]
    await manager.emit("hi", ("x", b"abc"), room=ada.id)
    assert (await ada.receive("hi")).args == ["x", b"abc"]
    await manager.emit("no", 1, skip_sid=ada.id)
    await manager.enter_room(ada.id, "/", "green")
    await manager.emit("green", 1, room="green")
    assert await ada.receive("green")
    await manager.can_disconnect(ada.id, "/")  # sends what a write-only one's disconnect does not
    await until(lambda: not cluster.one.sockets_here())


async def test_what_is_not_accepted_is_counted(tmp_path: Path) -> None:
    file = write(tmp_path, CONFIG, plugin=PLUGIN)
    rule = Rule(frozenset(["/"]), frozenset(["emit"]))
    accept = Accept({"emitter": rule})
    async with (
        redis() as running,
        node_server(running) as node,
        members(file, running, 2, accept) as (one, _),
    ):
        ada = await one.connect(auth={"name": "ada", "rooms": ["red"]})
        await node.run("io.emit('no')")
        await node.run("emitter.of('/other').emit('no'); emitter.in('red').socketsJoin('x')")
        await node.run("emitter.disconnectSockets(); emitter.serverSideEmit('shout')")
        await node.run("emitter.emit('hi')")
        await ada.receive("hi")
        assert one.sockets_here() == 1
        assert await heard(ada) == []
        assert one.bus.counts.unaccepted == 5
        assert len(await one.gateway.of("/").sockets()) == 1


async def test_nonsense_on_the_bus_is_counted_and_nothing_breaks(cluster: Cluster) -> None:
    for channel in ("socket.io#/#", "socket.io-request#/#", "socketio", "socket.io-members#"):
        for nonsense in ("x", "{", '"\\x93\\x00"', '"\\xc1"', "[1]"):
            await cluster.redis.command("PUBLISH", channel, nonsense)
    await cluster.node.run("io.emit('hi')")
    await cluster.ada.receive("hi")
    assert cluster.one.bus.is_up
    assert cluster.one.bus.counts.undecodable == 15
