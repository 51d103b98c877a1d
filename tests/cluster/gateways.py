"""Complete gateways in one process, each a member, joined by a mesh."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gateway.cluster.emitter import ClusterEmitter
from gateway.cluster.local import LocalBus
from gateway.cluster.peer import Mesh
from gateway.cluster.shares import Shares
from gateway.cluster.tallies import Tallies
from gateway.testing import TestGateway
from tests.cluster.meshes import join
from tests.deadline import until

__all__ = ["GatewayMember", "gateways"]


class GatewayMember(TestGateway):
    """A gateway with other members beside it, on a mesh that may have been joined before."""

    def __init__(self, file: Path, number: int, tag: str = "", mesh: Mesh | None = None) -> None:
        super().__init__(file, {})
        self.mesh = Mesh(tag or f"tag-{number}") if mesh is None else mesh
        self.bus = LocalBus(self.mesh)
        self._server.engine.tag = self.mesh.tag
        self.emitter = ClusterEmitter(self._server.hub, self.bus, number)
        self.gateway = self._server.hub.gateway
        self.shares = Shares(self._server.engine, self._server.hub.rooms, self.mesh)
        self.tallies = Tallies(self._server.live, self.mesh)
        self.mesh.tell()

    def admits(self, address: str) -> bool:
        """Count a session from an address, unless a limit forbids it."""
        return self._server.engine.admit(address)

    def dismiss(self, address: str) -> None:
        """Count one less."""
        self._server.engine.dismiss(address)

    @property
    def admitted_elsewhere(self) -> int:
        """The number of sessions that other members have."""
        return self._server.engine.admission.addresses.others

    def admitted(self, address: str) -> int:
        """The number of sessions from an address, of all members."""
        return self._server.engine.admission.addresses.in_all(address)

    def stop_clock(self, at: float) -> None:
        """Let it be so many seconds past some time, where sessions per second are counted."""
        self._server.engine.admission._clock = lambda: at

    @property
    def sockets_elsewhere(self) -> int:
        """The number of sockets that other members have."""
        return self._server.hub.rooms.by_namespace.others

    async def rejoin(self, other: GatewayMember) -> None:
        """Become a peer again."""
        await join(self.mesh, other.mesh)

    @property
    def services(self) -> int:
        """The number of running services."""
        return self._server.live.services


@asynccontextmanager
async def gateways(file: Path, count: int = 2) -> AsyncIterator[list[GatewayMember]]:
    """Members that serve one file, numbered from 1."""
    members = [GatewayMember(file, number) for number in range(1, count + 1)]
    await join(*(member.mesh for member in members))
    async with AsyncExitStack() as stack:
        for member in members:
            await stack.enter_async_context(member)
        yield members
        for member in members:
            member.mesh.close()
        await until(lambda: not any(member.mesh.peers for member in members))
