"""Complete members in one process that reach each other over TCP only, and what lies between."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from gateway.cluster.links import Links, LinkSettings
from gateway.cluster.members import Members
from tests.deadline import until
from tests.engineio.echo_server import Server

__all__ = ["SECRET", "Cable", "LinkedMember", "linked"]

SECRET = b"a secret of the tests"


class LinkedMember(Server):
    """A member whose engine echoes at `/engine.io/`, and that is linked to others."""

    def __init__(
        self,
        tag: str,
        secret: bytes = SECRET,
        tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.engine.tag = tag
        self.heard: list[bytes] = []
        self.members = Members(tag, lambda beat, to: self.heard.append(beat), [], [])
        settings = LinkSettings("127.0.0.1", 0, "127.0.0.1", secret, tls)
        self.links = Links(self.engine, self.http, settings, self.members, ())

    async def listen(self) -> None:
        """Listen for others."""
        self.links.start()
        await until(lambda: self.links.listener.port)

    def hear(self, other: LinkedMember, port: int | None = None) -> None:
        """Hear where another member listens, or is said to."""
        port = other.links.listener.port if port is None else port
        told = Members(other.members.own, lambda beat, to: self.members.heard(beat), [], [])
        told.announce(f"127.0.0.1:{port}" if port else "")

    def lose(self, other: LinkedMember) -> None:
        """Hear that another member is gone."""
        told = Members(other.members.own, lambda beat, to: self.members.heard(beat), [], [])
        told.leave()

    def is_linked(self, other: LinkedMember) -> bool:
        """True if the link to another member is up."""
        return self.links.states.get(other.members.own, False)

    async def stop(self) -> None:
        await super().stop()
        await self.links.close()

    @property
    def counted(self) -> dict[str, int]:
        """What became of requests for others, as far as there were any."""
        return {what: count for what, count in self.links.forwarding.counts.items() if count}


@asynccontextmanager
async def linked(**options: Any) -> AsyncIterator[tuple[LinkedMember, LinkedMember]]:
    """Two members that are linked to each other."""
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(LinkedMember(tag, **options))
            for tag in ("aaaaa", "bbbbb")
        ]
        for member in (one, two):
            await member.listen()
        one.hear(two)
        two.hear(one)
        await until(lambda: one.is_linked(two) and two.is_linked(one))
        yield one, two


class Cable:
    """A TCP proxy before a port, to cut and to hold; with `tls` it ends TLS."""

    def __init__(self, to: int, tls: ssl.SSLContext | None = None) -> None:
        self._to, self._tls = to, tls
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._copying: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0

    async def mend(self) -> None:
        """Let connections through, from now on."""
        self._open.set()
        if self._server is None:
            serve = self._serve
            self._server = await asyncio.start_server(serve, "127.0.0.1", self.port, ssl=self._tls)
            self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End all connections, and let none through."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()
        self._open.set()  # what is held goes nowhere
        while self._copying:
            await asyncio.wait(self._copying)

    def hold(self) -> None:
        """Let nothing through, with the connections open."""
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near = asyncio.current_task()
        assert near is not None
        self._copying.add(near)
        near.add_done_callback(self._copying.discard)
        try:
            there, thither = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, thither}
        self._writers |= both
        await asyncio.gather(self._copy(reader, thither), self._copy(there, writer))
        self._writers -= both

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2**16):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.transport.abort()
