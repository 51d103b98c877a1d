"""Complete gateways in one process, each a member of one cluster on a Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gateway.cluster.accept import Accept, Rule
from gateway.cluster.emitter import ClusterEmitter
from gateway.cluster.lease import LEASE
from gateway.cluster.local import LocalBus
from gateway.cluster.peer import Mesh
from gateway.cluster.redis import RedisBus
from gateway.cluster.redis_channels import Channels, Dialects
from gateway.cluster.redis_connection import Server
from gateway.testing import TestGateway
from tests.deadline import until
from tests.programs.redis import Redis

__all__ = ["ALL", "RedisMember", "members"]

ALL = Accept({"node": Rule(), "emitter": Rule(), "python-socketio": Rule()})
"""Accepts everything of everyone."""

BEAT = 0.3


class RedisMember(TestGateway):
    """A gateway on a Redis, with what it accepts of others."""

    def __init__(
        self,
        file: Path,
        redis: Redis | Server,
        tag: str,
        accept: Accept | None = None,
        lease: float = LEASE,
    ) -> None:
        super().__init__(file, {})
        server = redis if isinstance(redis, Server) else Server(port=redis.port)
        accept = accept or Accept()
        channel = "socketio" if "python-socketio" in accept.rules else ""
        dialects = Dialects("node" in accept.rules, channel)
        channels = Channels("socket.io", tag, dialects)
        self.bus = RedisBus(tag, server, channels, BEAT, lease)
        self._server.engine.tag = tag
        local = LocalBus(Mesh(tag))
        self.emitter = ClusterEmitter(self._server.hub, self.bus, 1, accept, local)
        self.gateway = self._server.hub.gateway

    def sockets_here(self, *rooms: str) -> int:
        """The number of sockets in rooms, or in all of `/`, that this member has itself."""
        scope = self.gateway.of("/")
        return len(self._server.hub.rooms.find(scope.to(*rooms) if rooms else scope))


@asynccontextmanager
async def members(
    file: Path, redis: Redis | Server, count: int = 2, accept: Accept = ALL
) -> AsyncIterator[list[RedisMember]]:
    """Members that serve one file, and know each other."""
    made = [RedisMember(file, redis, f"tag-{number}", accept) for number in range(count)]
    async with AsyncExitStack() as stack:
        for member in made:
            await stack.enter_async_context(member)
            member.bus.serve(["/", "/other"])
            member.bus.start()
            stack.push_async_callback(member.bus.close)
        await until(lambda: all(len(each.bus.members) == count - 1 for each in made))
        yield made
