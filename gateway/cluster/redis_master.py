"""The master of a Redis: where it is, by its Sentinels, and if it is one still.

Source: https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gateway.cluster.redis_connection import CONNECT, Connection, Refused, Server
from gateway.cluster.retrying import words

__all__ = ["Master"]

Address = tuple[str, int]

ANSWER = 1.0
"""Seconds that a Sentinel may take to answer."""

LARGEST_PORT = 65_535

_NAMES = {b"slave": "replica", b"sentinel": "Sentinel"}


class Master:
    """The master that `server` tells of: that server itself if it has no Sentinels."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._at: Address | None = None
        self._sentinel: Connection | None = None
        self._has_agreed = False

    async def connect(
        self, push: Callable[[list[Any]], None], lost: Callable[[str], None]
    ) -> Connection:
        """Connect to it. Raises `OSError` or `TimeoutError`.

        Sentinels are asked one after the other: one may be gone, or may tell of a former master.
        """
        if not self._server.sentinels:
            return await self._open(self._server, push, lost)
        faults: list[str] = []
        tried: set[Address] = set()
        for sentinel in self._server.sentinels:
            place = sentinel
            try:
                place = at = await self._told_by(sentinel)
                if at not in tried:
                    tried.add(at)
                    server = replace(self._server, host=at[0], port=at[1])
                    connection = await self._open(server, push, lost)
                    self._at, self._has_agreed = at, True
                    return connection
            except (OSError, TimeoutError) as error:
                told = "" if place is sentinel else f", says the Sentinel at {_shown(sentinel)}"
                faults.append(f"{_shown(place)}{told}: {words(error)}")
        raise Refused(f"no Sentinel tells where the master is: {'; '.join(faults)}")

    async def fault(self, connection: Connection) -> str:
        """Return why a connection does not lead to it any more, `""` if it does.

        Raises `OSError` or `TimeoutError` if that cannot be known.
        """
        return await self._demoted(connection) or await self._moved()

    def close(self) -> None:
        """End the connection to a Sentinel."""
        if self._sentinel is not None:
            self._sentinel.close()

    # The server

    async def _open(
        self, server: Server, push: Callable[[list[Any]], None], lost: Callable[[str], None]
    ) -> Connection:
        connection = await Connection.open(server, push, lost)
        try:
            async with asyncio.timeout(CONNECT):
                fault = await self._demoted(connection)
            if fault:
                raise Refused(fault)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _demoted(self, connection: Connection) -> str:
        """Say that a server is not a master: what is published at a replica stays there."""
        try:
            role = await connection.ask(b"ROLE")
        except Refused:
            if self._server.sentinels:
                raise
            return ""  # a user who may not ask, at the only server that there is
        name = role[0] if isinstance(role, list) and role else role
        if name == b"master":
            return ""
        shown = _NAMES.get(name) if isinstance(name, bytes) else None
        return f"it is a {shown}, not a master" if shown else "it is no master"

    # The Sentinels

    async def _moved(self) -> str:
        """Say that a Sentinel tells another master than before.

        One that never told of ours may be behind itself.
        """
        if self._at is None:
            return ""
        try:
            async with asyncio.timeout(ANSWER * len(self._server.sentinels)):
                if self._sentinel is None or not self._sentinel.is_open:
                    self._sentinel, self._has_agreed = await self._reached(), False
                at = await self._asked(self._sentinel)
        except TimeoutError:
            self.close()
            raise
        self._has_agreed = self._has_agreed or at == self._at
        return f"the master is at {_shown(at)} now" if self._has_agreed and at != self._at else ""

    async def _reached(self) -> Connection:
        """Connect to a Sentinel that answers. Raises `OSError` or `TimeoutError`."""
        for sentinel in self._server.sentinels[:-1]:
            try:
                return await self._sentinel_at(sentinel)
            except (OSError, TimeoutError):
                continue
        return await self._sentinel_at(self._server.sentinels[-1])

    async def _told_by(self, sentinel: Address) -> Address:
        """Ask a Sentinel where the master is, and stay connected to it.

        Raises `OSError` or `TimeoutError`.
        """
        self.close()
        self._sentinel = await self._sentinel_at(sentinel)
        async with asyncio.timeout(ANSWER):
            return await self._asked(self._sentinel)

    async def _sentinel_at(self, at: Address) -> Connection:
        server = Server(
            at[0],
            at[1],
            username=self._server.sentinel_username,
            password=self._server.sentinel_password,
            tls=self._server.tls,
        )
        async with asyncio.timeout(ANSWER):
            return await Connection.open(server, _ignore, _ignore)

    async def _asked(self, sentinel: Connection) -> Address:
        name = self._server.master
        found = await sentinel.ask(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name.encode())
        if found is None:
            raise Refused(f"no master {name!r}")
        try:
            host, port = found
            at = host.decode(), int(port)
        except (AttributeError, TypeError, ValueError):
            raise Refused("it answers as no Sentinel does") from None
        if not at[0] or not 0 < at[1] <= LARGEST_PORT:
            raise Refused("it answers as no Sentinel does")
        return at


def _shown(at: Address) -> str:
    return f"{at[0]}:{at[1]}"


def _ignore(what: object) -> None:
    """Take no notice."""
