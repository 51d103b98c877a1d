"""The dispatcher: runs connections and packets through the chains of the serving generation.

It knows nothing of the wire. Sockets and packets arrive as calls of `connect`, `packet` and
`left`; answers leave through `Connection`. Only this module decides the outcome of a packet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from inspect import currentframe
from types import FrameType

from gateway.api import Value
from gateway.context import Context
from gateway.errors import GatewayError, Reject
from gateway.limits import NamespaceLimits
from gateway.runtime.blueprint import Generation, NamespaceBlueprint, Route
from gateway.runtime.cancellation import Cancellations, Cause
from gateway.runtime.connection import (
    ACCEPTED,
    CONNECTING,
    LEFT,
    Connection,
    ConnectionContext,
    State,
    Witness,
)
from gateway.runtime.gateway_events import hear, run_event
from gateway.runtime.identity import identify
from gateway.runtime.live import Live
from gateway.runtime.load import InFlight
from gateway.runtime.outcome import (
    BUSY,
    OUTCOMES,
    RETURNED,
    cancelled,
    connect_error_data,
    error_payload,
    is_cancelled,
    is_fault,
    log_fault,
    outcome_of,
    reason_of,
    refused_by,
    unanswered,
    unsendable,
)

__all__ = ["Dispatcher"]

TOO_LATE = " took longer than {:g} s: to allow it, raise namespaces.{}.connect_timeout"
"""The reason, for the log, of a refusal by the clock."""

UNROUTED = ("dropped", "unknown_event")
"""Outcomes that only an ack reports: no handler has failed."""


class Dispatcher:
    """Runs connections and packets through the chains of the generation in `live`.

    `outcomes` counts packets by outcome; a plugin's own codes count as `rejected`. `unheard` counts
    published events that a `cluster` route did not get, because too much was in flight. `witness`
    takes note of sockets; `None` if nobody does.
    """

    def __init__(self, live: Live) -> None:
        self.live = live
        self.in_flight = InFlight()
        self.outcomes: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self.unheard = 0
        self.witness: Witness | None = None
        self._leaving: deque[tuple[Generation, Connection, str]] = deque()

    def serves(self, namespace: str) -> bool:
        """True if the current generation has this namespace."""
        current = self.live.current
        return current is not None and namespace in current.blueprint.namespaces

    def limits(self, connection: Connection) -> NamespaceLimits:
        """The current limits of a socket's namespace."""
        return self._newest(connection)[1].limits

    # Connections

    def connect(self, connection: Connection) -> None:
        """Run a new socket through its connection chain, in its own task.

        `serves` must be true for its namespace. Without a connection chain the socket is accepted
        at once and costs no task. It may be gone by the time this returns: sending CONNECT can
        disconnect a slow client.
        """
        generation = self.live.current
        assert generation is not None
        namespace = generation.blueprint.namespaces[connection.socket.namespace]
        if namespace.connection_links:
            chain = self._connection_chain(connection, generation, namespace)
            connection.task = self.live.pin(generation, chain)
            return
        try:
            self._accept(connection)
        except GatewayError as error:
            ctx = ConnectionContext(
                connection.socket, generation.service, connection.scope, generation.gateway
            )
            _refuse(self, connection, ctx, outcome_of(ctx, error), "")

    def refuse(self, connection: Connection, reject: Reject, why: str) -> None:
        """Refuse a socket that is not accepted yet; from now on its `next()` returns at once.

        `why` is for the log, "" if it is logged already.
        """
        if connection.state is LEFT:
            return
        connection.count_refused(why)
        connection.state = LEFT
        connection.unwind()
        connection.refuse(reject.message, connect_error_data(reject))

    def left(self, connection: Connection, reason: str) -> None:
        """End a socket that is gone; `reason` is one of Socket.IO's."""
        former = connection.end()
        if former is LEFT:
            return
        if former is ACCEPTED and self.witness is not None:
            self.witness.left(connection.socket, reason)
        for task in connection.cancellable:
            self.live.cancellations.cancel(task, "disconnect")
        generation, namespace = self._newest(connection)
        if former is ACCEPTED and namespace.events.keys() & {"disconnecting", "disconnect"}:
            self._leaving.append((generation, connection, reason))
            if len(self._leaving) == 1:
                self._run_disconnect_routes()
        else:
            connection.leave_rooms()
            connection.unwind()

    async def _connection_chain(
        self, connection: Connection, generation: Generation, namespace: NamespaceBlueprint
    ) -> None:
        emitter, scope = generation.gateway, connection.scope
        ctx = ConnectionContext(connection.socket, generation.service, scope, emitter)
        ctx._end = partial(self._stay, connection)  # a lambda would hold `ctx`: a cycle
        # `asyncio.timeout` would cost more than everything else that most sockets need.
        connection.expire_after(namespace.connect_timeout)
        reject, why = Reject("refused", "connection refused"), RETURNED
        try:
            await namespace.connection(ctx)
        except BaseException as error:
            is_cancellation = isinstance(error, asyncio.CancelledError)
            if not is_cancellation and not is_fault(error, currentframe()):
                raise
            if connection.state is State.EXPIRED:
                reject = Reject("timeout", "connecting took too long")
                why = TOO_LATE.format(namespace.connect_timeout, namespace.name)
            elif is_cancellation and is_cancelled():
                raise
            else:  # a cancellation may also come from a task that a plugin awaited
                reject, why = outcome_of(ctx, error), reason_of(error)
        finally:
            connection.stop_timer()
        if connection.state is ACCEPTED:
            # A middleware that no longer waits in next() ends the socket.
            await connection.disconnect()
        else:
            why = refused_by(ctx, namespace.connection_links, why)
            _refuse(self, connection, ctx, reject, why)

    async def _stay(self, connection: Connection, ctx: Context) -> None:
        if connection.state is CONNECTING:
            gone = connection.gone()
            self._accept(connection)
            await gone
            assert isinstance(ctx, ConnectionContext)
            ctx.has_left = True

    def _accept(self, connection: Connection) -> None:
        """Accept a socket, then run its `connect` route up to where it first waits.

        A client can rejoin again and again, so a route that waits counts as a packet in flight.
        Raises what `identify` does.
        """
        generation, namespace = self._newest(connection)
        identify(connection, namespace)
        if self.witness is not None:
            self.witness.accepted(connection.socket)
        connection.accept()
        route = namespace.events.get("connect")
        if route is None or connection.state is not ACCEPTED:  # sending to it may have ended it
            return
        task = self.live.spawn(generation, self._event(connection, "connect", []))
        if task is not None:
            self.in_flight.count_while(task, connection)
            if route.cancel_on_disconnect:
                connection.cancel_on_leave(task)

    def _run_disconnect_routes(self) -> None:
        """Run disconnect routes one at a time.

        A route that disconnects another socket queues it, so the stack stays flat.
        """
        while self._leaving:
            generation, connection, reason = self._leaving[0]
            try:
                self.live.spawn(generation, self._leave(connection, reason))
            finally:
                self._leaving.popleft()

    async def _leave(self, connection: Connection, reason: str) -> None:
        try:  # a reload or a stop may cancel either route
            try:
                await self._event(connection, "disconnecting", [reason])
            finally:
                connection.leave_rooms()
            await self._event(connection, "disconnect", [reason])
        finally:
            connection.unwind()

    async def _event(self, connection: Connection, event: str, args: list[Value]) -> None:
        """Run the route of a gateway event, if there is one."""
        generation, namespace = self._newest(connection)
        route = namespace.events.get(event)
        if route is None:
            return
        ctx = _context(connection, generation, event, args)
        try:
            await run_event(self.live, route, ctx)
        except BaseException as error:
            if not is_fault(error, currentframe()):
                raise
            if event == "connect" and _has_left(connection, error):
                return
            log_fault(ctx, f"in the route of the gateway event '{event}'", error)

    # Published events

    def cluster(
        self,
        args: list[Value],
        namespace: str | None = None,
        answer: Callable[[Value], None] | None = None,
    ) -> bool:
        """Run the `cluster` routes of a namespace, `None` means all, with a published event.

        `answer` gets what a route has returned, `None` if it has failed. False if none runs.
        """
        runs = False
        generation = self.live.current
        for each in () if generation is None else generation.blueprint.namespaces.values():
            route = each.events.get("cluster")
            if route is None or namespace not in (None, each.name):
                continue
            assert generation is not None
            if self.in_flight.count >= generation.blueprint.limits.handlers:
                self.unheard += 1
                continue
            task = self.live.spawn(
                generation, hear(self.live, generation, each.name, route, [*args], answer)
            )
            runs = True
            if task is not None:
                self.in_flight.count_event_while(task)
        return runs

    # Packets

    def packet(
        self, connection: Connection, event: str, args: list[Value], ack: int | None
    ) -> None:
        """Run one packet through its chain. `ack` is the id of its ack; `None` for none."""
        # `_newest` and `_context`, inlined for speed.
        generation, scope = self.live.current, connection.scope
        namespace = None if generation is None else generation.blueprint.namespaces.get(scope.name)
        if generation is None or namespace is None:
            generation, namespace = self._newest(connection)
        in_flight = self.in_flight
        if in_flight.count or in_flight.load.is_high:
            limit = in_flight.refuses(connection, generation, namespace)
            if limit is not None:
                connection.count_limit(limit)
                self._refuse_packet(connection, generation, event, ack)
                return
        route = namespace.routes.get(event, namespace.fallback)
        socket, gateway = connection.socket, generation.gateway
        ctx = Context(socket, event, args, generation.service, scope, gateway)
        work = self._packet_chain(connection, route, ctx, ack)
        task = self.live.spawn(generation, work)
        if task is not None:
            self._keep(task, connection, route, ctx, ack)

    def _keep(
        self,
        task: asyncio.Task[None],
        connection: Connection,
        route: Route,
        ctx: Context,
        ack: int | None,
    ) -> None:
        """Count a packet that waits for something, and bound its time."""
        self.in_flight.count_while(task, connection)
        cancellations = self.live.cancellations
        give_up = partial(_give_up, self, connection, route, ctx, ack)
        cancellations.watch(task, give_up, route.timeout if route.has_own_timeout else None)
        if route.serial is None:
            # Only packets that wait can take too long, so only they get a timer.
            cancellations.expire_after(task, route.timeout)
        if route.cancel_on_disconnect:
            connection.cancel_on_leave(task)

    def _refuse_packet(
        self, connection: Connection, generation: Generation, event: str, ack: int | None
    ) -> None:
        """Refuse a packet before it starts. The `error` route is skipped to save time."""
        self.outcomes["busy"] += 1
        failure = {"error": error_payload(BUSY)}
        if ack is not None:
            connection.ack(ack, [failure])
        else:
            work = connection.emit("error", [{**failure, "event": event}])
            self.live.spawn(generation, work)

    async def _packet_chain(
        self, connection: Connection, route: Route, ctx: Context, ack: int | None
    ) -> None:
        ctx._end = route.end
        if ack is not None:
            ctx._has_ack = True
        reject: Reject | None = None
        try:
            if route.serial is None:
                await route.chain(ctx)
            else:
                await _in_turn(self.live.cancellations, connection, route, ctx)
            if ctx.reply is None:
                reject = unanswered(ctx, route)
        except BaseException as error:
            cancellations = self.live.cancellations
            reject = _refusal(cancellations, connection, route, ctx, error, currentframe())
            if reject is None:
                return
        if ctx._end is _answered:
            return
        if reject is None and ack is not None:
            reply = ctx.reply
            args = reply if isinstance(reply, tuple) else () if reply is None else (reply,)
            try:
                connection.ack(ack, args)
            except (TypeError, ValueError) as error:
                reject = outcome_of(ctx, error)
        if reject is None:
            self.outcomes["ok"] += 1
        else:
            ctx._end = _answered
            await self._failed(connection, ctx, reject, ack)

    async def _failed(
        self, connection: Connection, ctx: Context, reject: Reject, ack: int | None
    ) -> None:
        """Count a packet that failed; its client gets the error as an ack, or as an event."""
        try:
            await self._send_error(connection, ctx, reject, ack)
        except (TypeError, ValueError) as error:
            reject = unsendable(ctx, error)
            await self._send_error(connection, ctx, reject, ack)
        self.outcomes[reject.code if reject.code in self.outcomes else "rejected"] += 1
        if reject.code not in UNROUTED:
            await self._event(connection, "error", [reject.code, reject.message])

    async def _send_error(
        self, connection: Connection, ctx: Context, reject: Reject, ack: int | None
    ) -> None:
        """Raises `TypeError` or `ValueError` for data that cannot be sent."""
        if ack is not None:
            connection.ack(ack, [{"error": error_payload(reject)}])
        elif reject.code not in UNROUTED:
            failure = {"error": error_payload(reject), "event": ctx.event}
            await connection.emit("error", [failure])

    # Generations

    def _newest(self, connection: Connection) -> tuple[Generation, NamespaceBlueprint]:
        """The generation that a socket's next packet enters, and its namespace there."""
        current = self.live.current
        name = connection.socket.namespace
        if current is not None and (namespace := current.blueprint.namespaces.get(name)):
            return current, namespace
        last = self.live.last_with(name)
        return last, last.blueprint.namespaces[name]


def _context(
    connection: Connection, generation: Generation, event: str, args: list[Value]
) -> Context:
    scope, gateway = connection.scope, generation.gateway
    return Context(connection.socket, event, args, generation.service, scope, gateway)


def _refuse(
    dispatcher: Dispatcher, connection: Connection, ctx: Context, reject: Reject, why: str
) -> None:
    try:
        dispatcher.refuse(connection, reject, why)
    except (TypeError, ValueError) as error:
        internal = unsendable(ctx, error)
        connection.refuse(internal.message, connect_error_data(internal))


async def _in_turn(
    cancellations: Cancellations, connection: Connection, route: Route, ctx: Context
) -> None:
    """Run a packet's chain once the packets ahead of it in its queue are done."""
    assert route.serial is not None
    async with connection.queue(route.serial):
        task = asyncio.current_task()
        assert task is not None
        cancellations.expire_after(task, route.timeout)
        try:
            await route.chain(ctx)
        finally:
            cancellations.stop_timer(task)


async def _answered(ctx: Context) -> None:
    """The end of a packet that has been answered already."""


def _has_left(connection: Connection, error: BaseException) -> bool:
    """True if an error says that the client left while a handler waited for its answer."""
    return isinstance(error, ConnectionError) and connection.state is LEFT


def _refusal(
    cancellations: Cancellations,
    connection: Connection,
    route: Route,
    ctx: Context,
    error: BaseException,
    chain: FrameType | None,
) -> Reject | None:
    """The outcome of an exception caught in the frame of a packet's chain; `None` if nobody cares.

    Raises the exception itself if no plugin has to answer for it.
    """
    if isinstance(error, asyncio.CancelledError) and connection.state is not LEFT:
        task = asyncio.current_task()
        assert task is not None
        by = cancellations.cause(task)
        return outcome_of(ctx, error) if by is None else _cut_off(connection, route, ctx, by)
    if not is_fault(error, chain):
        raise error
    if _has_left(connection, error):
        return None
    return outcome_of(ctx, error)


def _cut_off(connection: Connection, route: Route, ctx: Context, by: Cause) -> Reject:
    """The outcome of a packet that was cancelled; one that took too long has met a limit."""
    if by == "timeout":
        why = f"event {ctx.event!r} took longer than {route.timeout:g} s"
        namespaces = f"namespaces.{connection.socket.namespace}.packet_timeout"
        key = "the route's timeout" if route.has_own_timeout else namespaces
        connection.count_limit("packet_timeout", why, key)
    return cancelled(ctx, by)


def _give_up(
    dispatcher: Dispatcher,
    connection: Connection,
    route: Route,
    ctx: Context,
    ack: int | None,
    by: Cause,
) -> None:
    """Answer for a packet whose handler goes on though it was cancelled."""
    if connection.state is LEFT or ctx._end is _answered:
        return
    ctx._end = _answered
    ctx.log.warning(
        "event %r goes on after %s: its handler cannot be cancelled",
        *(ctx.event, "its time-out" if by == "timeout" else f"a {by}"),
    )
    reject = _cut_off(connection, route, ctx, by)
    answer = dispatcher._failed(connection, ctx, reject, ack)
    dispatcher.live.spawn(dispatcher._newest(connection)[0], answer)
