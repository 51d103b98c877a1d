"""Complete gateways in one process, each a member of one cluster on a Redis, or on NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gateway.cluster.accept import Accept, Rule
from gateway.cluster.bus import Bus
from gateway.cluster.emitter import ClusterEmitter
from gateway.cluster.lease import LEASE
from gateway.cluster.local import LocalBus
from gateway.cluster.nats import NatsBus, NatsServer
from gateway.cluster.peer import Mesh
from gateway.cluster.redis import RedisBus
from gateway.cluster.redis_channels import Channels, Dialects
from gateway.cluster.redis_connection import Server
from gateway.testing import TestGateway
from tests.cluster.cut_wire import CutWire, cut_wire
from tests.deadline import until
from tests.programs.nats import Nats
from tests.programs.redis import Redis

__all__ = ["ALL", "BusMember", "NatsMember", "RedisMember", "members", "nats_members", "walled"]

ALL = Accept({"node": Rule(), "emitter": Rule(), "python-socketio": Rule()})
"""Accepts everything of everyone."""

BEAT = 0.3


class BusMember(TestGateway):
    """A gateway on a bus, with what it accepts of others."""

    def __init__(self, file: Path, bus: Bus, accept: Accept | None = None) -> None:
        super().__init__(file, {})
        self._server.engine.tag = bus.tag
        local = LocalBus(Mesh(bus.tag))
        self.emitter = ClusterEmitter(self._server.hub, bus, 1, accept or Accept(), local)
        self.gateway = self._server.hub.gateway

    def sockets_here(self, *rooms: str) -> int:
        """The number of sockets in rooms, or in all of `/`, that this member has itself."""
        scope = self.gateway.of("/")
        return len(self._server.hub.rooms.find(scope.to(*rooms) if rooms else scope))


class RedisMember(BusMember):
    """A gateway on a Redis."""

    def __init__(
        self,
        file: Path,
        redis: Redis | Server,
        tag: str,
        accept: Accept | None = None,
        lease: float = LEASE,
    ) -> None:
        server = redis if isinstance(redis, Server) else Server(port=redis.port)
        rules = accept.rules if accept else {}
        dialects = Dialects("node" in rules, "socketio" if "python-socketio" in rules else "")
        channels = Channels("socket.io", tag, dialects)
        self.bus = RedisBus(tag, server, channels, BEAT, lease)
        super().__init__(file, self.bus, accept)


class NatsMember(BusMember):
    """A gateway on NATS."""

    def __init__(self, file: Path, nats: Nats | NatsServer, tag: str, lease: float = LEASE) -> None:
        server = nats if isinstance(nats, NatsServer) else NatsServer((nats.url,))
        self.bus = NatsBus(tag, server, "socket.io", BEAT, lease)
        super().__init__(file, self.bus)


@asynccontextmanager
async def members(
    file: Path, redis: Redis | Server, count: int = 2, accept: Accept = ALL
) -> AsyncIterator[list[RedisMember]]:
    """Members that serve one file, and know each other."""
    made = [RedisMember(file, redis, f"tag-{number}", accept) for number in range(count)]
    async with _joined(made):
        yield made


@asynccontextmanager
async def nats_members(file: Path, nats: Nats, count: int = 2) -> AsyncIterator[list[NatsMember]]:
    """Members on NATS that serve one file, and know each other."""
    made = [NatsMember(file, nats, f"tag-{number}") for number in range(count)]
    async with _joined(made):
        yield made


@asynccontextmanager
async def _joined(made: Sequence[RedisMember | NatsMember]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for member in made:
            await stack.enter_async_context(member)
            member.bus.serve(["/", "/other"])
            member.bus.start()
            stack.push_async_callback(member.bus.close)
        await until(lambda: all(len(each.bus.members) == len(made) - 1 for each in made))
        yield


@asynccontextmanager
async def walled(
    file: Path, running: Redis
) -> AsyncIterator[tuple[RedisMember, RedisMember, CutWire]]:
    """Two members, and what is between the second and Redis."""
    async with cut_wire(running.port) as wall, AsyncExitStack() as stack:
        one = RedisMember(file, running, "tag-0")
        two = RedisMember(file, Server(port=wall.port), "tag-1")
        for member in (one, two):
            await stack.enter_async_context(member)
            member.bus.serve(["/"])
            member.bus.start()
            stack.push_async_callback(member.bus.close)
        await until(lambda: one.bus.members and two.bus.members)
        yield one, two, wall
