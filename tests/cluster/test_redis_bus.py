"""The engine on Redis keeps the contract of the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.cluster.bus import Bus
from gateway.cluster.redis import RedisBus
from gateway.cluster.redis_channels import Channels
from gateway.cluster.redis_connection import Server
from tests.cluster.bus_contract import CONTRACT, OTHER
from tests.deadline import until
from tests.programs.redis import Redis, redis

NAMESPACES = ("/chat", OTHER.namespace)
BEAT = 0.3


class Network:
    """Members that are joined by a Redis."""

    def __init__(self, redis: Redis) -> None:
        self.all: dict[str, RedisBus] = {}
        self._server = Server(port=redis.port)

    async def join(self, tag: str) -> RedisBus:
        bus = RedisBus(tag, self._server, Channels("test", tag), BEAT)
        bus.serve(NAMESPACES)
        bus.start()
        await until(lambda: set(bus.members) >= self.all.keys())
        await until(lambda: all(tag in each.members for each in self.all.values()))
        self.all[tag] = bus
        return bus

    async def leave(self, bus: Bus) -> None:
        gone = self.all.pop(bus.tag)
        gone._link.abort()

    @asynccontextmanager
    async def freeze(self, bus: Bus) -> AsyncIterator[None]:
        """Nothing is written within one turn of the loop."""
        yield

    async def close(self) -> None:
        for bus in self.all.values():
            await bus.close()


@pytest.fixture
async def server() -> AsyncIterator[Redis]:
    async with redis() as running:
        yield running


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda each: each.__name__)
async def test_the_contract_is_kept(clause: Any, server: Redis) -> None:
    network = Network(server)
    await clause(network)
    await network.close()
