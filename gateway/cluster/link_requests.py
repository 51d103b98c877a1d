"""Requests for sessions of other machines, which wait a second for a link that is down."""

from __future__ import annotations

import asyncio
from typing import Protocol

from gateway.cluster.forward import ForwardExchange, Forwarding
from gateway.cluster.link_greeting import GreetingError, Line, message
from gateway.cluster.link_peer import LinkPeer
from gateway.cluster.requests import Head, PassedRequest, encode
from gateway.engineio.refusals import busy, too_large
from gateway.http.exchange import Connection

__all__ = ["WAIT", "LinkExchange", "RelayExchange", "Route"]

WAIT = 1.0
"""Seconds that a request waits for a link that is down."""


class Route(Protocol):
    """The way to another member, as its requests see it."""

    @property
    def peer(self) -> LinkPeer:
        """The member; it is not up while the link is down."""

    def wait(self, exchange: LinkExchange) -> bool:
        """Have an exchange sent once the link is up; false if too many wait already."""

    def forget(self, exchange: LinkExchange) -> None:
        """Forget an exchange that no longer waits."""

    def refused(self) -> None:
        """Count a request that was refused, as there is no link."""

    async def line(self) -> Line:
        """Make a connection for a client. Raises `OSError`, `GreetingError` or `TimeoutError`."""


class LinkExchange(ForwardExchange):
    """A request that a member on another machine answers; one that it could not get waits.

    A poll that was sent when the link was lost is sent again. A POST is not, since the owner may
    have it already: it is refused as its session was unknown, which no proxy repeats.
    """

    __slots__ = ("_body", "_route", "_timer")

    def __init__(
        self,
        forwarding: Forwarding,
        route: Route,
        head: Head,
        connection: Connection,
        fields: str,
    ) -> None:
        super().__init__(forwarding, route.peer, head, connection, fields)
        self._route = route
        self._body = b""
        self._timer: asyncio.TimerHandle | None = None

    def finish(self, body: bytes) -> None:
        self._body = body
        if self._route.peer.is_up or len(body) > self.body_limit:
            self._peer = self._route.peer
            super().finish(body)
        else:
            self._is_whole = True
            self._wait()

    def linked(self) -> None:
        """Send it: the link is up."""
        self._stop_waiting()
        self.finish(self._body)

    def lost(self) -> None:
        self._stop_waiting()
        super().lost()

    def orphaned(self) -> bool:
        if self._is_answered or self._head.method != "GET":
            return super().orphaned()
        self._number = None
        self._wait()
        return False

    def _wait(self) -> None:
        if self._route.wait(self):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(WAIT, self._refuse)
        else:
            self._refuse()

    def _refuse(self) -> None:
        self._stop_waiting()
        self._route.refused()
        self._is_answered = True
        self._connection.answer(busy(self._fields))

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._route.forget(self)


class RelayExchange:
    """A request for a WebSocket of a session on another machine, to which a connection is made.

    If there is none in time, the client is refused, and stays on polling.
    """

    __slots__ = ("_connection", "_fields", "_forwarding", "_head", "_route", "_task")

    def __init__(
        self,
        forwarding: Forwarding,
        route: Route,
        head: Head,
        connection: Connection,
        fields: str,
    ) -> None:
        self._forwarding, self._route, self._head = forwarding, route, head
        self._connection, self._fields = connection, fields
        self._task: asyncio.Task[None] | None = None

    @property
    def body_limit(self) -> int:
        return self._forwarding.body_limit

    def finish(self, body: bytes) -> None:
        if self._route.peer.is_up:
            self._task = asyncio.create_task(self._relay())
        else:
            self._refuse()

    def too_large(self) -> None:
        self._connection.answer(too_large(self._fields))

    def broken(self) -> None:
        """Do nothing: there is no connection to the owner yet."""

    def written(self) -> None:
        """Do nothing: a refusal is written."""

    def lost(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _relay(self) -> None:
        try:
            async with asyncio.timeout(WAIT):
                line = await self._route.line()
        except (OSError, GreetingError):  # a TimeoutError is an OSError
            self._refuse()
            return
        detached = self._connection.detach()
        if detached is None:
            line.abort()
            return
        transport, tail = detached
        early = message(encode(PassedRequest(self._head, tail)))
        self._forwarding.passing.carry(transport, early, line)
        self._forwarding.counts["relayed"] += 1

    def _refuse(self) -> None:
        self._route.refused()
        self._connection.answer(busy(self._fields))
