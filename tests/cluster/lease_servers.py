"""Servers that keep a lease: what tests do to them, and to the value."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import nats as client
from nats.js import JetStreamContext
from nats.js.api import StorageType
from nats.js.errors import NotFoundError

from gateway.cluster.nats import NatsServer
from gateway.cluster.nats_lease import BUCKET
from gateway.cluster.redis_connection import Server as Address
from tests.cluster.redis_members import NatsMember, RedisMember
from tests.programs.nats import Nats, nats
from tests.programs.redis import Redis, redis

__all__ = ["ENGINES", "KEY", "LeaseServer", "NatsLease", "RedisLease", "lease_server"]

KEY = "socket.io-lead"
"""The key in Redis."""

NATS_KEY = "socket=2Eio"

ENGINES = "redis", "nats"


class LeaseServer(Protocol):
    """A server whose members may have the lease."""

    @property
    def server(self) -> Redis | Nats: ...

    def member(self, file: Path, tag: str, lease: float) -> RedisMember | NatsMember: ...

    async def put(self, value: str) -> None:
        """Write the value."""

    async def value(self) -> str:
        """Read it; empty for none."""

    async def empty(self) -> None:
        """Forget everything."""


class RedisLease:
    """A Redis; `at` is what members get, if not the Redis itself."""

    def __init__(self, server: Redis, at: Address | None = None) -> None:
        self.server = server
        self._at = at or server

    def member(self, file: Path, tag: str, lease: float) -> RedisMember:
        return RedisMember(file, self._at, tag, lease=lease)

    async def put(self, value: str) -> None:
        assert await self.server.command("SET", KEY, f"'{value}'") == b"+OK"

    async def value(self) -> str:
        command = "EVAL \"return ':' .. (redis.call('GET', KEYS[1]) or '')\" 1"
        return (await self.server.answer(f"{command} {KEY}")).removeprefix(":")

    async def empty(self) -> None:
        assert await self.server.command("FLUSHALL") == b"+OK"


class NatsLease:
    """A NATS server with JetStream; `at` is what members get, if not that server alone."""

    def __init__(self, server: Nats, at: NatsServer | None = None) -> None:
        self.server = server
        self._at = at or server

    def member(self, file: Path, tag: str, lease: float) -> NatsMember:
        return NatsMember(file, self._at, tag, lease=lease)

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[JetStreamContext]:
        connected = await client.connect(self.server.url)
        yield connected.jetstream()
        await connected.close()

    async def put(self, value: str) -> None:
        async with self._stream() as stream:
            memory = StorageType.MEMORY
            bucket = await stream.create_key_value(bucket=BUCKET, ttl=3600, storage=memory)
            await bucket.put(NATS_KEY, value.encode())

    async def value(self) -> str:
        async with self._stream() as stream:
            try:
                last = await stream.get_last_msg(f"KV_{BUCKET}", f"$KV.{BUCKET}.{NATS_KEY}")
            except NotFoundError:
                return ""
            return (last.data or b"").decode()

    async def empty(self) -> None:
        async with self._stream() as stream:
            await stream.delete_key_value(BUCKET)


@asynccontextmanager
async def lease_server(engine: str, folder: Path) -> AsyncIterator[LeaseServer]:
    """Run a server of an engine."""
    if engine == "redis":
        async with redis() as running:
            yield RedisLease(running)
    else:
        async with nats("--jetstream", "--store_dir", str(folder / "jetstream")) as server:
            yield NatsLease(server)
