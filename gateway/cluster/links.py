"""Links: the ways to members on other machines, and from them, over TCP.

Each member connects to each other one that says, by its beats, where it listens; on that link go
its requests for sessions of the other. A link that is lost is made again. A client's WebSocket has
a connection of its own, so that one which reads slowly holds up nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Container
from dataclasses import dataclass, field
from functools import partial

import msgspec

from gateway.cluster.forward import RANDOM, Forwarding
from gateway.cluster.link_greeting import GreetingError, Line, Purpose, greet
from gateway.cluster.link_listener import LinkListener
from gateway.cluster.link_peer import LinkMesh, LinkPeer
from gateway.cluster.link_requests import LinkExchange, RelayExchange
from gateway.cluster.members import Members
from gateway.cluster.peer import Frame, Peer
from gateway.cluster.requests import head_of
from gateway.cluster.retrying import Pauses, words
from gateway.engineio.engine import Engine, Forward
from gateway.http.connection import HttpServer
from gateway.http.exchange import Connection, Exchange
from gateway.http.request import Request
from gateway.http.switching import websocket_key

__all__ = ["LinkSettings", "Links"]

LOG = logging.getLogger("sockgw.cluster")

DIAL = 2.0
"""Seconds to connect and greet."""

PING = 1.0
"""Seconds between two pings."""

SILENCE = 5.0
"""Seconds without a word after which a link is lost."""

MOST_WAITING = 1_000
"""Requests that wait for links that are down; more are refused at once."""

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
"""The TLS of a member that listens, and of one that connects."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Where a member listens for others.

    `port` 0 is any free one. `advertise` is the host that
    others connect to. `tls` is `None` without TLS.
    """

    host: str
    port: int
    advertise: str
    secret: bytes = field(default=b"", repr=False)
    tls: Contexts | None = None


class Links:
    """The links of a member to the `members` of its cluster, but for those that are `near`.

    Requests that reach `engine` for sessions of linked members are forwarded, those that come from
    linked members are answered. To be made after all else that finds owners. `refused` counts
    requests that met no link within a second, `lost` the links that were lost.
    """

    def __init__(
        self,
        engine: Engine,
        server: HttpServer,
        settings: LinkSettings,
        members: Members,
        near: Container[str],
    ) -> None:
        self.refused = self.lost = 0
        self._settings, self._members, self._near = settings, members, near
        self._own = members.own
        self._mesh = LinkMesh(self._own)
        self.forwarding = Forwarding(engine, server, self._mesh, owns_ids=False)
        self._links: dict[str, Link] = {}
        self._incoming: dict[str, LinkPeer] = {}
        self._pinging: asyncio.Task[None] | None = None
        self.waiting = 0  # requests that wait for a link
        server_tls = settings.tls[0] if settings.tls else None
        address = settings.host, settings.port
        self.listener = LinkListener(
            self._own, address, settings.secret, server_tls, self._take, self._listening
        )
        self._find_near = engine.find_owner
        engine.find_owner = self._find_owner
        members.on_link.append(self._linked)
        self._mesh.on_lost.append(self._gone)

    @property
    def states(self) -> dict[str, bool]:
        """The members that are linked, by tag, and if their link is up."""
        return {tag: link.peer.is_up for tag, link in self._links.items()}

    @property
    def faults(self) -> dict[str, str]:
        """Why links are down, by the tag of the member."""
        return {tag: link.fault for tag, link in self._links.items() if not link.peer.is_up}

    def start(self) -> None:
        """Begin to listen, unless that has begun."""
        self.listener.start()
        if self._pinging is None:
            self._pinging = asyncio.create_task(self._ping())

    def give_way(self) -> None:
        """Listen no more: another process takes the port over.

        Links stay, and are not made again, nor does that process try to make one.
        """
        self.listener.stop()
        self._members.announce("")

    async def close(self) -> None:
        """End all links, and what is relayed."""
        await self.listener.close()
        tasks = [link.task for link in self._links.values()]
        tasks += [self._pinging] if self._pinging else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.forwarding.close()
        self._mesh.close()
        for peer in tuple(self._incoming.values()):
            peer.close()

    # Requests for sessions of others

    def _find_owner(self, sid: str) -> Forward | None:
        if (near := self._find_near(sid)) is not None:
            return near
        link = self._links.get(sid[:-RANDOM])
        return None if link is None else partial(self._forward, link)

    def _forward(
        self, link: Link, request: Request, connection: Connection, fields: str
    ) -> Exchange | None:
        head = head_of(request, connection)
        if request.query.get("transport") == "websocket" and websocket_key(request) is not None:
            return RelayExchange(self.forwarding, link, head, connection, fields)
        return LinkExchange(self.forwarding, link, head, connection, fields)

    # What others tell

    def _linked(self, tag: str, address: str) -> None:
        """Link a member that listens at an address; it listens no more at an empty one."""
        if tag in self._near:
            return
        link = self._links.get(tag)
        if link is not None:
            link.address = address
        elif address:
            self._links[tag] = Link(self, tag, address)

    def _listening(self, port: int) -> None:
        host = self._settings.advertise
        self._members.announce(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    async def _take(self, line: Line, other: str, purpose: Purpose) -> None:
        """Take a connection of another member: frames, or a client's that it relays."""
        if purpose is Purpose.CLIENT:
            payload = await line.read_message()
            try:
                self.forwarding.passing.enter(line, payload)
            except msgspec.MsgspecError as error:
                raise GreetingError("garbage", str(error)) from None
            return
        peer = LinkPeer(other, self._mesh)
        line.hand_over(peer)
        former, self._incoming[other] = self._incoming.get(other), peer
        if former is not None:
            former.cut("it has connected again")

    def _gone(self, peer: Peer) -> None:
        """Forget a peer whose connection is lost."""
        if self._incoming.get(peer.tag) is peer:
            del self._incoming[peer.tag]

    async def _ping(self) -> None:
        """Send pings, and cut links on which nothing has come for too long."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PING
            await asyncio.sleep(PING)
            now = loop.time()
            for peer in (*self._mesh.peers.values(), *self._incoming.values()):
                assert isinstance(peer, LinkPeer)
                if now > due + PING:  # we were late ourselves: what was sent is not read yet
                    peer.heard = now
                elif now - peer.heard > SILENCE:
                    peer.cut(f"it has been silent for {SILENCE:g} s")
                peer.send(Frame.PING)

    # Called by links

    def is_near(self, tag: str) -> bool:
        """True of a member that is reached without a link."""
        return tag in self._near

    def new_peer(self, tag: str) -> LinkPeer:
        """Make a peer that is not connected yet."""
        return LinkPeer(tag, self._mesh)

    def linked(self, line: Line, peer: LinkPeer) -> None:
        """Connect a peer. Raises `ConnectionError`."""
        line.hand_over(peer)
        self._mesh.add(peer)

    def remove(self, tag: str) -> None:
        """Forget the link to a member that is gone."""
        del self._links[tag]

    async def dial(self, tag: str, address: str, purpose: Purpose) -> Line:
        """Connect to a member and greet it. Raises `OSError` or `GreetingError`."""
        loop, tls = asyncio.get_running_loop(), self._settings.tls
        host, _, port = address.rpartition(":")
        async with asyncio.timeout(DIAL):
            _, line = await loop.create_connection(
                Line, host.strip("[]"), int(port), ssl=tls[1] if tls else None
            )
            try:
                await greet(line, self._own, tag, purpose, self._settings.secret)
            except BaseException:
                line.abort()
                raise
        return line


class Link:
    """The link to the member `tag` at `address`, made again whenever it is lost.

    `fault` is why it is down, empty while it is up. Once `address` is empty, it is not made again.
    """

    def __init__(self, links: Links, tag: str, address: str) -> None:
        self.tag, self.address = tag, address
        self.peer = links.new_peer(tag)
        self.fault = "it is being made"
        self._is_told = False
        self._links = links
        self._waiting: dict[LinkExchange, None] = {}
        self.task = asyncio.create_task(self._run())

    # Called by requests

    def wait(self, exchange: LinkExchange) -> bool:
        """Have an exchange sent once the link is up; false if too many wait already."""
        if self._links.waiting >= MOST_WAITING:
            return False
        if exchange not in self._waiting:
            self._waiting[exchange] = None
            self._links.waiting += 1
        return True

    def forget(self, exchange: LinkExchange) -> None:
        """Forget an exchange that no longer waits."""
        if exchange in self._waiting:
            del self._waiting[exchange]
            self._links.waiting -= 1

    def refused(self) -> None:
        """Count a request that was refused, as there is no link."""
        self._links.refused += 1

    async def line(self) -> Line:
        """Make a connection for a client. Raises `OSError` or `GreetingError`."""
        return await self._links.dial(self.tag, self.address, Purpose.CLIENT)

    # The link

    async def _run(self) -> None:
        pauses = Pauses()
        while self.address and not self._links.is_near(self.tag):
            try:
                await self._connect()
            except (OSError, GreetingError, ValueError) as error:
                self._tell_down(_words(error))
                await asyncio.sleep(pauses.next())
                continue
            self._tell_down(await self.peer.gone)
            self._links.lost += 1
            await asyncio.sleep(pauses.first())
        self._links.remove(self.tag)

    async def _connect(self) -> None:
        """Make the link, and send what has waited for it."""
        line = await self._links.dial(self.tag, self.address, Purpose.FRAMES)
        peer = self._links.new_peer(self.tag)
        self._links.linked(line, peer)
        self.peer, self.fault, self._is_told = peer, "", False
        LOG.info("the link to member %s at %s is up", self.tag, self.address)
        for exchange in tuple(self._waiting):
            exchange.linked()

    def _tell_down(self, why: str) -> None:
        """Note that the link is down; the log tells once, unless the member has left."""
        self.fault = why
        if self.address and not self._is_told:
            self._is_told = True
            told = "the link to member %s at %s is down: %s"
            LOG.warning(told, self.tag, self.address, why)


def _words(error: Exception) -> str:
    """Say why there is no link."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return words(error)
