"""The two sides of a message, for each of the ways to carry it: ours, and those of others."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import nats
import redis.asyncio as redis
from nats.aio.msg import Msg

from gateway.api import Namespace
from gateway.cluster import messages as wire
from gateway.cluster.bus import Bus, Channel, Kind
from gateway.cluster.emitter import ClusterEmitter
from gateway.cluster.local import LocalBus
from gateway.cluster.nats import NatsBus, NatsServer
from gateway.cluster.peer import Mesh
from gateway.cluster.redis import RedisBus
from gateway.cluster.redis_channels import Channels
from gateway.cluster.redis_connection import Connection, Server, pack
from gateway.testing import TestGateway

__all__ = ["ARGS", "EVENT", "SENDS", "SIDES", "TAKES", "Side", "TestMember", "encoded"]

EVENT = "message"
ARGS = [
    {
        "id": "01JDQ8YV3Z6W2T",
        "from": {"id": 4711, "name": "Ann Example"},
        "room": "lobby",
        "at": 1764412800123,
        "text": "Does anyone know when the next train to Bristol leaves?",
    }
]
"""A typical event of a chat: 168 bytes of JSON."""

ROOM = "lobby"
CHANNEL = Channel(Kind.BROADCAST, "/")
NAME = b"bench#/#"
SUBJECT = "bench"

SENDS, TAKES = "send.", "take."
"""The tags of the two sides."""


class Side:
    """One side. `send` sends so many messages at once; `note` is called with each that comes."""

    def __init__(self) -> None:
        self.received = 0
        self._goal, self._done = 0, asyncio.Event()

    async def send(self, count: int) -> None:
        raise NotImplementedError

    def note(self, *message: object) -> None:
        """Count a message that was received."""
        self.received += 1
        if self.received == self._goal:
            self._done.set()

    async def receives(self, count: int) -> None:
        """Wait until so many more were received."""
        self._goal = self.received + count
        self._done.clear()
        await self._done.wait()


class Plain(Side):
    """A side whose way to send is a function."""

    def __init__(self, send: Callable[[int], object]) -> None:
        super().__init__()
        self._send = send

    async def send(self, count: int) -> None:
        done = self._send(count)
        if asyncio.iscoroutine(done):
            await done


class TestMember(TestGateway):
    """A complete member on a bus, with no clients and its file in a `folder`."""

    def __init__(self, folder: str, bus: Bus) -> None:
        file = Path(folder, "gateway.yaml")
        file.write_text("namespaces: {/: {}}\n")
        super().__init__(file, {})
        self.bus = bus
        self._server.engine.tag = bus.tag
        local = bus if isinstance(bus, LocalBus) else LocalBus(Mesh(bus.tag))
        self.emitter = ClusterEmitter(self._server.hub, bus, local=local)
        self.hub = self._server.hub

    @property
    def target(self) -> Namespace:
        """The room that is sent to, in which nobody is."""
        return self.hub.gateway.of("/").to(ROOM)


def encoded(tag: str) -> bytes:
    """A broadcast as it is sent."""
    ours = wire.Ours(1, time=1764412800.5)
    options = wire.Options([ROOM])
    return wire.encode(wire.Broadcast(tag, wire.event("/", [EVENT, *ARGS]), options, ours))


# Ours


@asynccontextmanager
async def _redis_bus(tag: str, where: str) -> AsyncIterator[Bus]:
    bus = RedisBus(tag, Server(port=int(where)), Channels("bench", tag))
    bus.serve(["/"])
    bus.start()
    yield bus
    await bus.close()


@asynccontextmanager
async def _nats_bus(tag: str, where: str) -> AsyncIterator[Bus]:
    bus = NatsBus(tag, NatsServer((f"nats://127.0.0.1:{where}",)), "bench")
    bus.serve(["/"])
    bus.start()
    yield bus
    await bus.close()


@asynccontextmanager
async def _local_bus(tag: str, where: str) -> AsyncIterator[Bus]:
    mesh = Mesh(tag)
    bus = LocalBus(mesh)
    stream, channel = (socket.socket(fileno=int(each)) for each in where.split(","))
    await mesh.join(SENDS if tag == TAKES else TAKES, stream, channel)
    yield bus
    mesh.close()


BUSES = {"redis": _redis_bus, "nats": _nats_bus, "local": _local_bus}


@asynccontextmanager
async def _engine(name: str, tag: str, where: str) -> AsyncIterator[Side]:
    """The engine alone: it carries bytes that were encoded before, and nobody decodes them."""
    async with BUSES[name](tag, where) as bus:
        message = encoded(tag)

        def send(count: int) -> None:
            for _ in range(count):
                bus.publish(CHANNEL, message)

        side = Plain(send)
        bus.receive = side.note
        await _joined(bus)
        yield side


@asynccontextmanager
async def _whole(name: str, tag: str, where: str) -> AsyncIterator[Side]:
    """A whole member: an emit to a room, decoded at the other side, where nobody is in it."""
    async with BUSES[name](tag, where) as bus:
        with tempfile.TemporaryDirectory() as folder:
            async with TestMember(folder, bus) as member:
                target, receive = member.target, bus.receive

                async def send(count: int) -> None:
                    for _ in range(count):
                        await target.emit(EVENT, *ARGS)

                side = Plain(send)

                def take(channel: Channel, message: bytes) -> None:
                    receive(channel, message)
                    if channel.kind is Kind.BROADCAST:
                        side.note()

                bus.receive = take
                await _joined(bus)
                yield side


async def _joined(bus: Bus) -> None:
    while not bus.members:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


# Others


@asynccontextmanager
async def _connection(tag: str, where: str) -> AsyncIterator[Side]:
    """The connection to Redis under our engine, and nothing else of it."""
    message = encoded(tag)
    connection: Connection

    def send(count: int) -> None:
        commands = [pack((b"PUBLISH", NAME, message)) for _ in range(count)]
        connection.send(b"".join(commands), *[None] * count)

    side = Plain(send)

    def push(push: list[object]) -> None:
        if push[0] == b"message":
            side.note()

    connection = await Connection.open(Server(port=int(where)), push, side.note)
    if tag == TAKES:
        connection.send(pack((b"SUBSCRIBE", NAME)))
    await connection.ask(b"PING")
    yield side
    connection.close()


@asynccontextmanager
async def _redis_py(tag: str, where: str) -> AsyncIterator[Side]:
    message = encoded(tag)
    async with redis.Redis(port=int(where)) as client:

        async def send(count: int) -> None:
            if count == 1:
                await client.publish(NAME, message)
                return
            pipeline = client.pipeline(transaction=False)
            for _ in range(count):
                pipeline.publish(NAME, message)
            await pipeline.execute()

        side = Plain(send)
        if tag != TAKES:
            yield side
            return
        async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(NAME)
            reading = asyncio.create_task(_read(pubsub, side))
            yield side
            reading.cancel()


async def _read(pubsub: redis.client.PubSub, side: Side) -> None:
    async for message in pubsub.listen():
        side.note(message)


@asynccontextmanager
async def _nats_py(tag: str, where: str) -> AsyncIterator[Side]:
    message = encoded(tag)
    client = await nats.connect(f"nats://127.0.0.1:{where}")

    async def send(count: int) -> None:
        for _ in range(count):
            await client.publish(SUBJECT, message)

    side = Plain(send)

    async def take(message: Msg) -> None:
        side.note(message)

    if tag == TAKES:
        await client.subscribe(SUBJECT, cb=take)
        await client.flush()
    yield side
    await client.close()


SIDES = {
    "connection": _connection,
    "redis": partial(_engine, "redis"),
    "redis, whole": partial(_whole, "redis"),
    "nats": partial(_engine, "nats"),
    "nats, whole": partial(_whole, "nats"),
    "local": partial(_engine, "local"),
    "local, whole": partial(_whole, "local"),
    "redis-py": _redis_py,
    "nats-py": _nats_py,
}
"""Each way, by its name; called with the tag of the side, and where the broker is."""
