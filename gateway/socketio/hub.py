"""The hub: it sends to many sockets at once, and holds what all clients share."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Literal

from gateway.api import Answers, Delivery, Emitter, Gateway, Namespace, Sockets, Value
from gateway.api import Member as GatewayMember
from gateway.engineio.frames import Frames
from gateway.engineio.packet import Message
from gateway.errors import Reject, UsageError
from gateway.limits import LimitName, Limits
from gateway.runtime.dispatch import Dispatcher
from gateway.socketio.calls import Call
from gateway.socketio.json import MAX_DEPTH
from gateway.socketio.msgpack import MsgPackPacket, plain
from gateway.socketio.packet import EVENT, RESERVED, Packet
from gateway.socketio.presence import Presences
from gateway.socketio.rooms import Member, Rooms

__all__ = ["Hub", "Serializer", "published"]

Serializer = Literal["json", "msgpack"]

PlainEvent = Callable[[Message], tuple[list[Value], int | None] | None]

PACKETS: Mapping[Serializer, type[Packet]] = {"json": Packet, "msgpack": MsgPackPacket}


class Hub:
    """The emitter of this process.

    Plugins use `emitter` through `gateway`: the hub itself, or one that reaches other members too.
    `member` is this process as a member. `packet` is the class that encodes and decodes packets,
    `plain_event` a fast way to decode most events. `limits` apply to every client. `dropped` counts
    volatile events, once for each client that was not ready.
    """

    limits: Limits
    plain_event: PlainEvent

    def __init__(self, dispatcher: Dispatcher, serializer: Serializer, limits: Limits) -> None:
        self.dispatcher = dispatcher
        self.packet = PACKETS[serializer]
        self.configure(limits)
        self.rooms = Rooms()
        self.presence = Presences(dispatcher.live, self.rooms, self.scope, self.deliver)
        self.present = self.presence.present
        self.dropped = 0
        self.member = GatewayMember("", 1, platform.node())
        self.use(self)

    def configure(self, limits: Limits) -> None:
        """Apply limits, to connected clients too."""
        self.limits = limits
        # The fast way does not check for a depth below JSON's own limit.
        is_short = limits.depth >= MAX_DEPTH
        self.plain_event = self.packet.plain_event if is_short else _no_plain_event

    def use(self, emitter: Emitter) -> None:
        """Have plugins use an emitter. To be called before the first of them is started."""
        self.emitter = emitter
        self.gateway = Gateway(emitter)
        self._scopes: dict[str, Namespace] = {}

    def scope(self, name: str) -> Namespace:
        """A namespace as plugins see it; all its sockets share one."""
        scope = self._scopes.get(name)
        if scope is None:
            scope = self._scopes[name] = Namespace(name, self.emitter)
        return scope

    def limit(self, namespace: str, address: str) -> LimitName | None:
        """The limit that forbids a new socket in a namespace; `None` if there is none."""
        generation = self.dispatcher.live.current
        assert generation is not None
        own = generation.blueprint.namespaces[namespace].limits
        full = self.rooms.limit(namespace, address, self.limits, own)
        return full or self.dispatcher.in_flight.refuses_newcomers(generation)

    def limit_key(self, limit: LimitName, namespace: str) -> str:
        """The key of a limit that a socket of a namespace has just met.

        A namespace's `sockets` and `handlers` hold besides the gateway's, its other limits instead.
        """
        name, bound = f"limits.{limit}", getattr(self.limits, limit)
        current = self.dispatcher.live.current
        found = None if current is None else current.blueprint.namespaces.get(namespace)
        own = getattr(found.limits, limit, bound) if found is not None else bound
        counts = {"sockets": self.rooms.total, "handlers": self.dispatcher.in_flight.count}
        is_own = counts[limit] < bound if limit in counts else own != bound
        return f"namespaces.{namespace}.{name}" if is_own else name

    def event(
        self, event: str, args: Sequence[object], namespace: str, id: int | None = None
    ) -> Frames:
        """Encode an event.

        Raises `UsageError` for a reserved event, `TypeError` or `ValueError` for unsendable data.
        """
        if not isinstance(event, str):
            raise TypeError(f"an event's name is text, not {type(event).__name__}")
        if event in RESERVED:
            raise UsageError(f"event '{event}' is reserved: clients take it for Socket.IO's own")
        return self.packet.frames(EVENT, [event, *args], namespace, id)

    def ready(self, members: Iterable[Member]) -> list[Member]:
        """Those that can take a volatile event at once; the others are counted."""
        members = tuple(members)
        ready = [each for each in members if each.is_ready()]
        self.dropped += len(members) - len(ready)
        return ready

    async def ask(
        self, members: Sequence[Member], event: str, args: Sequence[object], timeout: float
    ) -> Answers:
        """Send an event to accepted sockets of one namespace, and wait for their answers."""
        if not members:
            return Answers({})
        ack = max(member.last_ack for member in members) + 1  # new to all, so encoded once
        frames = self.event(event, args, members[0].socket.namespace, ack)
        call = Call((member.socket.id for member in members), self.limits.answer_buffer)
        try:
            for member in members:
                member.expect(ack, call)
            for member in members:
                member.session.send_many(frames)
            return await call.answers(timeout)
        finally:
            for member in members:
                member.expect_no_more(ack)

    def deliver(self, target: Namespace, event: str, args: Sequence[object]) -> int:
        """Send an event to the sockets of a target; returns how many they are.

        Raises the same as `event`.
        """
        frames = self.event(event, args, target.name)
        members = self.rooms.find(target)
        if target.is_volatile:
            members = self.ready(members)
        for member in members:
            member.session.send_many(frames, droppable=True)
        return len(members)

    # The emitter

    async def broadcast(self, target: Namespace, event: str, args: Sequence[object]) -> None:
        self.deliver(target, event, args)

    async def confirm(
        self, target: Namespace, event: str, args: Sequence[object], timeout: float
    ) -> Delivery:
        return Delivery({self.member.tag: self.deliver(target, event, args)})

    async def call(
        self, target: Namespace, event: str, args: Sequence[object], timeout: float
    ) -> Answers:
        if target.is_volatile:
            raise UsageError("call() cannot be volatile: it waits for every answer")
        return await self.ask(self.rooms.find(target), event, args, timeout)

    async def join(self, target: Namespace, rooms: Sequence[str]) -> None:
        self.rooms.check_free(rooms)
        for member in self.rooms.find(target):
            with suppress(Reject):  # too many rooms, which is counted
                limit = self.dispatcher.limits(member).rooms_per_socket
                self.rooms.join(member, rooms, limit)

    async def leave(self, target: Namespace, rooms: Sequence[str]) -> None:
        for member in self.rooms.find(target):
            self.rooms.leave(member, rooms)

    async def disconnect_sockets(self, target: Namespace, close: bool) -> None:
        for member in self.rooms.find(target):
            await member.disconnect(close)

    async def sockets(self, target: Namespace, timeout: float) -> Sockets:
        return Sockets(member.socket for member in self.rooms.find(target))

    async def count(self, target: Namespace, timeout: float) -> int:
        return len(self.rooms.find(target))

    async def publish(self, event: str, args: Sequence[object]) -> None:
        self.dispatcher.cluster(published(event, args))

    # Reload

    async def close_namespaces(self, names: Collection[str], window: float) -> None:
        """Disconnect the sockets of removed namespaces, spread over `window` seconds.

        Run it in the generation that served them: its disconnect routes run for them.
        """
        leaving = [member for member in self.rooms if member.socket.namespace in names]
        for member in leaving:
            await member.disconnect()
            await asyncio.sleep(window / len(leaving))


def published(event: str, args: Sequence[object]) -> list[Value]:
    """The arguments of a `cluster` route, as all members get them: in types of their own.

    Raises `TypeError` or `ValueError` for what cannot be sent.
    """
    if not isinstance(event, str):
        raise TypeError(f"an event's name is text, not {type(event).__name__}")
    data: list[Value] = plain([event, *args])
    return data


def _no_plain_event(message: Message) -> None:
    return None
