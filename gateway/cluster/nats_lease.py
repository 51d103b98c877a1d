"""Where a cluster on NATS keeps its lease: a bucket of JetStream, with one key for each cluster.

A value is replaced if the revision that was seen is still the last. The bucket is in memory, on
three servers if there are so many.

Source: https://docs.nats.io/nats-concepts/jetstream/key-value-store
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any

from nats.aio.client import Client
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import StorageType
from nats.js.errors import (
    APIError,
    BucketNotFoundError,
    KeyWrongLastSequenceError,
    NoStreamResponseError,
    NotFoundError,
)
from nats.js.kv import KeyValue

__all__ = ["BUCKET", "NatsStore"]

LOG = logging.getLogger("sockgw.cluster")

BUCKET = "sockgw"

KEPT = 3600.0
"""Seconds that NATS keeps the key of a cluster that is gone."""

DEADLINE = 1.0
"""Seconds that JetStream may take to answer."""

MOST_REPLICAS = 3
"""On how many servers the bucket is; on one if that is refused."""


class NatsStore:
    """The value of the lease of `cluster`. `client` returns the client, or `None` without one."""

    name = "NATS"

    def __init__(self, cluster: str, client: Callable[[], Client | None]) -> None:
        self._key = re.sub(r"[^A-Za-z0-9_-]", lambda found: f"={ord(found[0]):02X}", cluster)
        self._client = client
        self._found: tuple[Client | None, KeyValue] | None = None
        self._seen = b"", 0
        self._refusal = ""

    def refused(self, what: str) -> None:
        """Note what NATS has refused: a request that it refuses has no answer."""
        if any(part in what.lower() for part in ("$js.", "$kv.", "_inbox")):
            self._refusal = what

    async def get(self) -> bytes:
        """Return the value, `b""` if there is none. Raises `OSError`."""
        return await self._asking(self._get())

    async def swap(self, former: bytes, new: bytes) -> bytes:
        """Replace a value, unless it is another by now; returns the one that is there then.

        Raises `OSError`.
        """
        return await self._asking(self._swap(former, new))

    async def _get(self) -> bytes:
        await self._bucket()
        try:
            last = await self._stream().get_last_msg(f"KV_{BUCKET}", f"$KV.{BUCKET}.{self._key}")
        except NotFoundError:
            self._seen = b"", 0
        else:
            self._seen = last.data or b"", last.seq or 0
        return self._seen[0]

    async def _swap(self, former: bytes, new: bytes) -> bytes:
        value, revision = self._seen
        if value != former:
            return await self._get()
        try:
            bucket = await self._bucket()
            try:
                written = await bucket.update(self._key, new, revision)
            except NoStreamResponseError:  # the bucket is gone
                self._found = None
                written = await (await self._bucket()).update(self._key, new, 0)
        except KeyWrongLastSequenceError:
            return await self._get()
        self._seen = new, written
        return new

    async def _bucket(self) -> KeyValue:
        stream = self._stream()
        if self._found is None or self._found[0] is not self._client():
            self._found = self._client(), await _opened(stream)
        return self._found[1]

    def _stream(self) -> JetStreamContext:
        client = self._client()
        if client is None:
            raise ConnectionResetError("NATS is away")
        return client.jetstream(timeout=DEADLINE)

    async def _asking(self, work: Coroutine[Any, Any, bytes]) -> bytes:
        """Do some work; what goes wrong in it is an `OSError`."""
        self._refusal = ""
        try:
            async with asyncio.timeout(DEADLINE):
                return await work
        except APIError as error:
            raise ConnectionError(error.description or "JetStream is not enabled") from None
        except TimeoutError:
            if self._refusal:
                raise ConnectionError(self._refusal) from None
            raise
        except Error as error:
            raise ConnectionResetError(str(error)) from None


async def _opened(stream: JetStreamContext) -> KeyValue:
    """Return the bucket, which is made if there is none. Raises NATS' errors."""
    try:
        return await stream.key_value(BUCKET)
    except BucketNotFoundError:
        pass
    try:
        return await _made(stream, MOST_REPLICAS)
    except APIError as error:
        LOG.debug("the bucket %s is on one server: %s", BUCKET, error.description)
        return await _made(stream, 1)


async def _made(stream: JetStreamContext, replicas: int) -> KeyValue:
    memory = StorageType.MEMORY
    return await stream.create_key_value(bucket=BUCKET, ttl=KEPT, storage=memory, replicas=replicas)
