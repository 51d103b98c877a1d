"""The counts of sockets, by namespace and by address, come back to nothing on every way out."""

from __future__ import annotations

import asyncio
from math import inf
from pathlib import Path

import pytest

from gateway.limits import Limits, NamespaceLimits
from gateway.socketio.rooms import Rooms
from gateway.testing import Refused, TestGateway
from tests.conformance.serve import serving
from tests.gateway_files import write
from tests.raw_client import raw

CONFIG = """
namespaces:
  /:
    routes: {kick: plugin.kick, say: plugin.say}
  /chain:
    connection_middleware: [plugin.stay]
  /closed:
    connection_middleware: [plugin.refuse]
  /slow:
    connection_middleware: [plugin.wait]
  /late:
    connection_middleware: [plugin.wait]
    connect_timeout: 10ms
"""

PLUGIN = """
import asyncio
from gateway import Reject

async def kick(ctx):
    await ctx.socket.disconnect()

async def say(ctx, *args):
    return args

async def stay(ctx, next):
    await next()

async def refuse(ctx, next):
    raise Reject("no")

async def wait(ctx, next):
    await asyncio.Event().wait()
"""

HERE = "127.0.0.1"
NOBODY: tuple[int, dict[str, int], dict[str, int]] = (0, {}, {})


@pytest.fixture
def gateway(tmp_path: Path) -> TestGateway:
    return TestGateway(write(tmp_path, CONFIG, plugin=PLUGIN), {})


def counted(rooms: Rooms) -> tuple[int, dict[str, int], dict[str, int]]:
    """How many there are: in all, by namespace, by address."""
    return len(rooms), dict(rooms.counts), dict(rooms.addresses)


@pytest.mark.parametrize("namespace", ["/", "/chain"])
@pytest.mark.parametrize("way", ["leaves", "is lost"])
async def test_a_socket_counts_while_it_is_there(
    gateway: TestGateway, namespace: str, way: str
) -> None:
    async with gateway:
        rooms = gateway._server.hub.rooms
        one, two = await gateway.connect(namespace), await gateway.connect(namespace)
        assert counted(rooms) == (2, {namespace: 2}, {HERE: 2})
        for left, client in ((1, one), (0, two)):
            await (client.disconnect() if way == "leaves" else client.lose())
            assert len(rooms) == left
        assert counted(rooms) == NOBODY


async def test_one_that_is_sent_away_counts_no_more(gateway: TestGateway) -> None:
    async with gateway:
        client = await gateway.connect()
        await client.emit("kick")
        await client.wait_disconnected()
        assert counted(gateway._server.hub.rooms) == NOBODY


@pytest.mark.parametrize("namespace", ["/closed", "/late", "/nowhere"])
async def test_one_that_is_refused_counts_no_more(gateway: TestGateway, namespace: str) -> None:
    async with gateway:
        for _ in range(2):
            with pytest.raises(Refused):
                await gateway.connect(namespace)
        assert counted(gateway._server.hub.rooms) == NOBODY


async def test_one_that_is_pending_counts_and_may_be_lost(gateway: TestGateway) -> None:
    async with gateway:
        client = gateway.client("/slow")
        connecting = asyncio.create_task(client.connect())
        await asyncio.sleep(0)
        assert counted(gateway._server.hub.rooms) == (1, {"/slow": 1}, {HERE: 1})
        await client.lose()
        assert counted(gateway._server.hub.rooms) == NOBODY
        connecting.cancel()
        await asyncio.wait([connecting])


async def test_those_of_a_namespace_that_is_removed_count_no_more(gateway: TestGateway) -> None:
    async with gateway:
        hub = gateway._server.hub
        await gateway.connect()
        for _ in range(3):
            await gateway.connect("/chain")
        await hub.close_namespaces(["/chain"], 0)
        assert counted(hub.rooms) == (1, {"/": 1}, {HERE: 1})


async def test_one_for_whom_connect_is_too_much_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its outbox is full of acks, so the answer to its CONNECT ends it as a slow client."""
    file = write(tmp_path, CONFIG, plugin=PLUGIN)
    async with (
        serving(file, join_timeout=45, send_packets=2) as served,
        raw(served.url, "polling") as client,
    ):
        await client.join("/chain")
        await client.send('42/chain,1["say"]', '42/chain,2["say"]', "40")
        server = served.server
        assert await client.receive() is None
        assert counted(server.hub.rooms) == NOBODY
        assert not server.engine.sessions
        assert server.engine.limits_met.counts["send_packets"] == 1


async def test_limits_look_at_the_counts_and_add_nothing_to_them(gateway: TestGateway) -> None:
    async with gateway:
        rooms = gateway._server.hub.rooms
        await gateway.connect()
        none, own = Limits(), NamespaceLimits()
        assert rooms.limit("/", HERE, none, own) is None
        assert rooms.limit("/", HERE, Limits(sockets=1), own) == "sockets"
        assert rooms.limit("/", HERE, none, NamespaceLimits(sockets=1)) == "sockets"
        assert rooms.limit("/chain", HERE, none, NamespaceLimits(sockets=1)) is None
        here = Limits(sockets_per_address=1)
        assert rooms.limit("/chain", HERE, here, own) == "sockets_per_address"
        assert rooms.limit("/", "elsewhere", here, own) is None
        assert rooms.limit("/", HERE, Limits(sockets=inf), own) is None
        assert counted(rooms) == (1, {"/": 1}, {HERE: 1})


async def test_one_that_is_gone_already_is_not_counted_out_again(gateway: TestGateway) -> None:
    async with gateway:
        rooms = gateway._server.hub.rooms
        client = await gateway.connect()
        await gateway.connect()
        [socket] = [each for each in rooms if each.socket.id == client.id]
        await client.lose()
        rooms.remove(socket)
        assert counted(rooms) == (1, {"/": 1}, {HERE: 1})
