"""Complete members in one process, each with a port of its own, and clients that go round them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import aiohttp

from gateway.cluster.forward import Forwarding
from gateway.cluster.peer import Mesh, Peer
from tests.cluster.meshes import join
from tests.deadline import until
from tests.engineio.echo_server import Answer, Server, Wire

__all__ = ["Member", "RoundWire", "members"]


class Member(Server):
    """A member whose engine echoes at `/engine.io/`."""

    def __init__(self, tag: str, **options: Any) -> None:
        super().__init__(**options)
        self.mesh = Mesh(tag)
        self.forwarding = Forwarding(self.engine, self.http, self.mesh)

    async def stop(self) -> None:
        await super().stop()
        self.forwarding.close()
        self.mesh.close()
        await until(lambda: not self.mesh.peers)

    def peer(self, other: Member) -> Peer:
        """The other member, as it is seen here."""
        return self.mesh.peers[other.mesh.tag]

    @property
    def counted(self) -> dict[str, int]:
        """What became of requests for others, as far as there were any."""
        return {what: count for what, count in self.forwarding.counts.items() if count}


@asynccontextmanager
async def members(*tags: str, **options: Any) -> AsyncIterator[list[Member]]:
    """Members with these tags, each the peer of all others."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(Member(tag, **options)) for tag in tags]
        await join(*(member.mesh for member in made))
        yield made


class RoundWire(Wire):
    """A raw client each of whose requests goes to the next of several ports."""

    def __init__(self, http: aiohttp.ClientSession, *members: Member) -> None:
        super().__init__(members[0].port, http)
        self._ports = itertools.cycle([member.port for member in members])

    def at(self, member: Member) -> Self:
        """Send all requests to one member from now on."""
        self._ports = itertools.cycle([member.port])
        return self

    def go_on(self) -> None:
        """Turn to the next port."""
        self.port = next(self._ports)
        self.url = f"http://127.0.0.1:{self.port}/engine.io/"

    async def request(self, method: str, body: Any = None, **how: Any) -> Answer:
        self.go_on()
        return await super().request(method, body, **how)
