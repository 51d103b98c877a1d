"""The dispatcher: what a CONNECT, a packet and a lost socket lead to.

It knows no wire: what goes out passes through `Wire`, what comes in arrives as calls of `connect`,
`packet` and `gone`. The outcome of a packet is decided here and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from gateway.api import Context, Gateway, Namespace, Socket, Transport, Value
from gateway.errors import Reject
from gateway.runtime.blueprint import Generation, NamespaceBlueprint, Route
from gateway.runtime.connection import Connection
from gateway.runtime.fault import FAULTS, log_fault
from gateway.runtime.limits import NamespaceLimits
from gateway.runtime.live import Live
from gateway.runtime.services import ServicePool
from gateway.runtime.under_way import PacketLimit, UnderWay
from gateway.runtime.verdict import (
    BUSY,
    OUTCOMES,
    arguments,
    cancelled,
    error_of,
    late,
    told,
    unanswered,
    verdict_on,
)

__all__ = ["Dispatcher", "Wire"]


class Wire(Transport, Protocol):
    """What only the dispatcher asks of the wire. A socket that is gone is no error here either."""

    def accept(self, socket: Socket) -> None:
        """Send CONNECT, then what was emitted before it."""

    def refuse(self, socket: Socket, message: str, data: object) -> None:
        """Send CONNECT_ERROR and forget the socket."""

    def ack(self, socket: Socket, id: int, args: Sequence[object]) -> None:
        """Answer the packet whose ack id is `id`; raises what encoding `args` raises."""

    def meets(self, socket: Socket, limit: PacketLimit) -> None:
        """A packet of the socket is refused for a limit that was met."""

    def leave_all(self, socket: Socket) -> None:
        """Take a socket that is gone out of its rooms."""


class Dispatcher:
    """Leads connections and packets through the chains of the generation that serves.

    `outcomes` counts packets by what became of them; a plugin's own codes are `rejected`.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._gateway = Gateway(wire)
        self.live = Live(ServicePool(self._gateway))
        self.under_way = UnderWay()
        self.outcomes: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self._leaving: deque[tuple[Generation, Connection, str]] = deque()

    def serves(self, namespace: str) -> bool:
        """Whether the current generation has this namespace."""
        current = self.live.current
        return current is not None and namespace in current.blueprint.namespaces

    def connection(self, socket: Socket) -> Connection:
        """That of a new socket, whose namespace must be one that `serves` accepts."""
        return Connection(socket, Namespace(socket.namespace, self._wire))

    def connect(self, connection: Connection) -> None:
        """Lead a new socket through its connection chain, in a task of its own.

        A socket that no middleware waits for is accepted at once and costs no task. It may be
        gone again by then, CONNECT being too much for a client that is slow.
        """
        generation = self.live.current
        assert generation is not None
        if generation.blueprint.namespaces[connection.socket.namespace].connection_links:
            connection.task = self.live.pin(generation, self._stay(connection, generation))
        else:
            self._accept(connection)

    def packet(
        self, connection: Connection, event: str, args: list[Value], ack: int | None
    ) -> None:
        """Lead one packet through its chain. `ack` is the id of the ack asked for, if any."""
        generation, namespace = self._newest(connection)
        if self.under_way.count or self.under_way.load.is_high:
            limit = self.under_way.refuses(connection, generation, namespace)
            if limit is not None:
                self._wire.meets(connection.socket, limit)
                self._turn_away(connection, generation, event, ack)
                return
        route = namespace.routes.get(event, namespace.fallback)
        ctx = self._context(connection, generation, event, args)
        work = self._answer(connection, namespace, route, ctx, ack)
        task = self.live.spawn(generation, work)
        if task is None:
            return
        self.under_way.enter(connection)
        task.add_done_callback(lambda _: self.under_way.leave(connection))
        if route.serial is None:
            # Only what waits can take too long, so only then a timer is worth its price.
            timer = asyncio.get_running_loop().call_later(route.timeout, task.cancel)
            task.add_done_callback(lambda _: timer.cancel())
        if route.cancel_on_disconnect:
            connection.cancellable_until_done(task)

    def _turn_away(
        self, connection: Connection, generation: Generation, event: str, ack: int | None
    ) -> None:
        """Refuse a packet before it begins; no route for `error` is told, who has enough to do."""
        socket = connection.socket
        self.outcomes["busy"] += 1
        failure = {"error": error_of(BUSY)}
        if ack is not None:
            self._wire.ack(socket, ack, [failure])
        else:
            args = [{**failure, "event": event}]
            self.live.spawn(generation, self._wire.emit(socket, "error", args))

    def gone(self, connection: Connection, reason: str) -> None:
        """Tell that a socket is gone, and why, in Socket.IO's words."""
        if connection.reason is not None:
            return
        connection.reason = reason
        if not connection.accepted:
            assert connection.task is not None
            connection.task.cancel()
        for task in tuple(connection.cancellable):
            task.cancel()
        generation, namespace = self._newest(connection)
        if connection.accepted and namespace.events.keys() & {"disconnecting", "disconnect"}:
            self._leaving.append((generation, connection, reason))
            if len(self._leaving) == 1:
                self._see_off()
        else:
            self._wire.leave_all(connection.socket)
            connection.unwind()

    def refuse(self, connection: Connection, verdict: Reject) -> None:
        """Refuse a socket that is not accepted yet; from then on its `next()` returns at once."""
        if connection.reason is not None:
            return
        connection.reason = verdict.code
        connection.unwind()
        self._wire.refuse(connection.socket, verdict.message, told(verdict))

    def limits(self, connection: Connection) -> NamespaceLimits:
        """The limits that hold for a socket now."""
        return self._newest(connection)[1].limits

    def _newest(self, connection: Connection) -> tuple[Generation, NamespaceBlueprint]:
        current = self.live.current
        name = connection.socket.namespace
        if current is not None and (namespace := current.blueprint.namespaces.get(name)):
            return current, namespace
        last = self.live.last_with(name)
        return last, last.blueprint.namespaces[name]

    def _context(
        self, connection: Connection, generation: Generation, event: str, args: list[Value]
    ) -> Context:
        socket, scope = connection.socket, connection.scope
        return Context(socket, event, args, generation.service, scope, self._gateway)

    async def _stay(self, connection: Connection, generation: Generation) -> None:
        namespace = generation.blueprint.namespaces[connection.socket.namespace]
        ctx = self._context(connection, generation, "connect", [])
        ctx._end = lambda _: self._hold(connection)
        verdict: Reject | None = None
        # `asyncio.timeout` would cost more than all the rest that is done for most sockets.
        loop = asyncio.get_running_loop()
        limit = connection.limit = loop.call_later(namespace.connect_timeout, connection.expire)
        try:
            await namespace.connection(ctx)
        except (*FAULTS, asyncio.CancelledError) as error:
            if connection.expired:
                verdict = Reject("timeout", "connecting took too long")
            elif isinstance(error, asyncio.CancelledError):
                raise
            else:
                verdict = verdict_on(ctx, error)
        finally:
            limit.cancel()
        if not connection.accepted:
            self.refuse(connection, verdict or Reject("refused", "connection refused"))
        elif connection.reason is None:
            # A middleware that stops waiting in next() has ended the socket's passage.
            await self._wire.disconnect(connection.socket)

    async def _hold(self, connection: Connection) -> None:
        if connection.reason is not None or connection.expired:
            return
        assert connection.limit is not None
        connection.limit.cancel()
        self._accept(connection)
        await connection.gone

    def _accept(self, connection: Connection) -> None:
        connection.accepted = True
        self._wire.accept(connection.socket)

    def _see_off(self) -> None:
        """Run the routes of those who leave. Whom these send away in turn waits for its own: one
        inside the other, a hundred would be deeper than Python goes.
        """
        while self._leaving:
            generation, connection, reason = self._leaving[0]
            self.live.spawn(generation, self._leave(connection, reason))
            self._leaving.popleft()

    async def _leave(self, connection: Connection, reason: str) -> None:
        await self._event(connection, "disconnecting", [reason])
        self._wire.leave_all(connection.socket)
        await self._event(connection, "disconnect", [reason])
        connection.unwind()

    async def _event(self, connection: Connection, event: str, args: list[Value]) -> None:
        generation, namespace = self._newest(connection)
        route = namespace.events.get(event)
        if route is None:
            return
        ctx = self._context(connection, generation, event, args)
        try:
            async with asyncio.timeout(route.timeout):
                await route.end(ctx)
        except FAULTS as error:
            log_fault(ctx, f"in the route of the gateway event '{event}'", error)

    async def _answer(
        self,
        connection: Connection,
        namespace: NamespaceBlueprint,
        route: Route,
        ctx: Context,
        ack: int | None,
    ) -> None:
        ctx._end = route.end
        verdict: Reject | None = None
        try:
            if route.serial is None:
                await namespace.packet(ctx)
            else:
                await self._in_turn(connection, namespace, route, ctx)
            if ctx.reply is None:
                verdict = unanswered(ctx, route)
        except FAULTS as error:
            verdict = verdict_on(ctx, error)
        except asyncio.CancelledError as error:
            if connection.reason is not None:
                raise
            verdict = cancelled(ctx, error)
        if ack is not None:
            verdict = self._ack(ctx, ack, verdict)
        if verdict is None:
            self.outcomes["ok"] += 1
            return
        self.outcomes[verdict.code if verdict.code in self.outcomes else "rejected"] += 1
        if verdict.code in ("dropped", "unknown_event"):
            return
        if ack is None:
            failure = {"error": error_of(verdict), "event": ctx.event}
            await self._wire.emit(ctx.socket, "error", [failure])
        await self._event(connection, "error", [verdict.code, verdict.message])

    async def _in_turn(
        self, connection: Connection, namespace: NamespaceBlueprint, route: Route, ctx: Context
    ) -> None:
        """Run a packet's chain when the packets before it in its queue have ended."""
        assert route.serial is not None
        async with connection.queue(route.serial):
            limit = asyncio.timeout(route.timeout)
            try:
                async with limit:
                    await namespace.packet(ctx)
            except TimeoutError:
                if limit.expired():
                    raise late(ctx) from None
                raise

    def _ack(self, ctx: Context, id: int, verdict: Reject | None) -> Reject | None:
        if verdict is None:
            try:
                self._wire.ack(ctx.socket, id, arguments(ctx.reply))
            except (TypeError, ValueError) as error:
                verdict = verdict_on(ctx, error)
        if verdict is not None:
            self._wire.ack(ctx.socket, id, [{"error": error_of(verdict)}])
        return verdict
