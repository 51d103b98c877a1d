"""The local engine keeps the contract of the bus."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.cluster.bus import Bus
from gateway.cluster.local import LocalBus
from gateway.cluster.peer import Mesh
from tests.cluster.bus_contract import CONTRACT
from tests.deadline import until


class Meshes:
    """Members that are joined by Unix sockets."""

    def __init__(self) -> None:
        self.all: dict[str, Mesh] = {}

    async def join(self, tag: str) -> Bus:
        mesh = Mesh(tag)
        bus = LocalBus(mesh)
        for other in self.all.values():
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            passing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            await mesh.join(other.tag, ours, passing[0])
            await other.join(tag, theirs, passing[1])
        self.all[tag] = mesh
        return bus

    async def leave(self, bus: Bus) -> None:
        mesh = self.all.pop(bus.tag)
        for peer in mesh.peers.values():
            assert peer._transport is not None
            peer._transport.abort()
        await until(lambda: not mesh.peers)

    @asynccontextmanager
    async def freeze(self, bus: Bus) -> AsyncIterator[None]:
        """Nothing is written within one turn of the loop."""
        yield


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda each: each.__name__)
async def test_the_contract_is_kept(clause: Any) -> None:
    network = Meshes()
    await clause(network)
    for mesh in network.all.values():
        mesh.close()
    await until(lambda: not any(mesh.peers for mesh in network.all.values()))
