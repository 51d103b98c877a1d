"""Where a cluster on Redis keeps its lease: the key `NAME-lead`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["RedisStore"]

KEPT = b"3600"
"""Seconds that Redis keeps the key of a cluster that is gone."""

SWAP = b"""local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then return found end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return ARGV[2]"""
"""Replaces a value, unless it is another by now; returns the one that is there then."""

Ask = Callable[..., Awaitable[Any]]
"""Sends a command to Redis and returns the reply. Raises `OSError`."""


class RedisStore:
    """The value of the lease of `cluster`; see `gateway.cluster.lease.Store`."""

    name = "Redis"

    def __init__(self, cluster: str, ask: Ask) -> None:
        self._key, self._ask = f"{cluster}-lead".encode(), ask

    async def get(self) -> bytes:
        return await self._ask(b"GET", self._key) or b""

    async def swap(self, former: bytes, new: bytes) -> bytes:
        found: bytes = await self._ask(b"EVAL", SWAP, b"1", self._key, former, new, KEPT)
        return found
