"""python-socketio on our engine: packets in, decoded once and strictly, handed to a `Receiver`.

python-socketio keeps the clients, their rooms and their acks. What it would do on the arrival of a
packet is replaced here: it runs a client's `connect` event as a connection, calls a handler twice
on a `TypeError`, keeps a session that breaks the protocol, and leaves sockets behind.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Generic, Literal, Protocol, TypeVar

import socketio

from gateway.api import Value
from gateway.engineio.bucket import Bucket
from gateway.engineio.frame import Frames
from gateway.engineio.limit import Limit
from gateway.engineio.offence import Offence
from gateway.engineio.opening import Opening
from gateway.runtime.limits import Limits
from gateway.socketio.json import MAX_DEPTH, is_deep
from gateway.socketio.packet import (
    ACK,
    BINARY_ACK,
    CONNECT,
    DISCONNECT,
    Packet,
    PacketError,
)
from gateway.socketio.rooms import Rooms

__all__ = ["Client", "Receiver", "Server", "paced"]

quiet = logging.getLogger("sockgw.socketio")
quiet.setLevel(logging.WARNING)

STEP = 1.0
"""Seconds after which who waits looks again how long that is to be."""

REASONS = {"client disconnect": "transport close", "server disconnect": "forced server close"}
"""Why a session ended, in the words of Socket.IO 4 where Engine.IO has others."""


class Session(Protocol):
    """What is needed of an Engine.IO session; `owner` is ours to set."""

    id: str
    owner: Any

    def send_many(self, frames: Frames, droppable: bool = False) -> None: ...

    def end(self, reason: Literal["parse error", "server disconnect"]) -> None: ...

    def offends(self, kind: Offence, why: object) -> None: ...

    def meets(self, limit: Limit, why: object) -> None: ...

    def hold(self, seconds: float) -> None: ...


PeerT = TypeVar("PeerT")


@dataclass(slots=True, eq=False)
class Client(Generic[PeerT]):
    """One Engine.IO session and its sockets, by namespace.

    `left` are the namespaces it was once in: a packet for one of these crossed our DISCONNECT and
    is no offence. `partial` is a packet whose attachments have not all come. `bytes` and `packets`
    are those it may still send in this second; to leave a namespace and to come back is no way
    round them.

    A session that is in no namespace for `join_timeout` seconds is ended. Node asks once, after
    its opening; one that has left its last namespace holds a connection for nothing just as well.
    """

    session: Session
    opening: Opening
    join_timeout: float
    peers: dict[str, PeerT] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    partial: Packet | None = None
    bytes: Bucket = field(default_factory=Bucket)
    packets: dict[str, Bucket] = field(default_factory=dict)
    _limit: asyncio.TimerHandle = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._wait()

    def enter(self, namespace: str, peer: PeerT) -> None:
        self.peers[namespace] = peer
        self._limit.cancel()

    def leave(self, namespace: str) -> None:
        if self.peers.pop(namespace, None) is None:
            return
        self.left.add(namespace)
        if not self.peers:
            self._wait()

    def limit(self, limits: Limits) -> None:
        """Other limits hold; for who is in no namespace the time begins anew."""
        for bucket in (self.bytes, *self.packets.values()):
            bucket.left = min(bucket.left, 0.0)
        if limits.join_timeout != self.join_timeout:
            self.join_timeout = limits.join_timeout
            if not self.peers:
                self._limit.cancel()
                self._wait()

    def gone(self) -> None:
        """The session has ended."""
        self._limit.cancel()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._limit = loop.call_later(self.join_timeout, self._late)

    def _late(self) -> None:
        self.session.meets("join_timeout", "in no namespace")
        self.session.end("server disconnect")


def _no_event(data: str | bytes) -> None:
    return None


def paced(
    bucket: Bucket, rate: Callable[[], float], session: Session, limit: Limit
) -> Awaitable[None] | None:
    """What a session's next message waits for when it has sent more than `rate` a second.

    Who waits asks for the rate again from time to time: a reload changes it, and there is none
    for who has left.
    """
    if not bucket.wait(rate(), time.monotonic()):
        return None
    session.meets(limit, f"more than {rate()} in a second; it is read from more slowly")
    return _pace(bucket, rate, session)


async def _pace(bucket: Bucket, rate: Callable[[], float], session: Session) -> None:
    while wait := min(bucket.wait(rate(), time.monotonic()), STEP):
        session.hold(wait)
        await asyncio.sleep(wait)


class Receiver(Protocol[PeerT]):
    """Where packets go. Each may raise `PacketError`, which ends the session.

    What the first three return is what the session's next message has to wait for.
    """

    def connected(
        self, client: Client[PeerT], namespace: str, auth: dict[str, Value]
    ) -> Awaitable[None] | None: ...

    def event(self, peer: PeerT, data: list[Value], id: int | None) -> Awaitable[None] | None: ...

    def acked(self, peer: PeerT, data: list[Value], id: int) -> Awaitable[None] | None: ...

    def lost(self, peer: PeerT, reason: str) -> None: ...


class Server(socketio.AsyncServer, Generic[PeerT]):  # type: ignore[misc]
    """A `socketio.AsyncServer` that hands what arrives to `receiver`.

    `engine` is the class of the Engine.IO server, `options` what it is made with. `packet` is the
    class that packets are written and read by. `limits` hold for each session.
    """

    manager_initialized: bool

    def __init__(
        self,
        receiver: Receiver[PeerT],
        engine: type,
        options: Mapping[str, object],
        packet: type[Packet],
        limits: Limits,
    ) -> None:
        self._receiver = receiver
        self._engine = engine
        self._packet = packet
        super().__init__(
            client_manager=Rooms(), serializer=packet, namespaces="*", logger=quiet, **options
        )
        self.limit(limits)
        self.eio.on_connect = self.open
        self.eio.on_message = self._message
        self.eio.on_disconnect = self._closed

    def limit(self, limits: Limits) -> None:
        """Set the limits, of sessions that are open as well."""
        self.limits = limits
        for session in self.eio.sessions.values():
            session.owner.limit(limits)
        # The short way does not look how deep data nests, within what JSON may.
        self._plain_event = self._packet.plain_event if limits.depth >= MAX_DEPTH else _no_event

    def send_frames(self, eio_sid: str, frames: Frames, droppable: bool) -> None:
        """Send the messages of one packet, in one step, to a session; none when it is gone."""
        session = self.eio.sessions.get(eio_sid)
        if session is not None:
            session.send_many(frames, droppable)

    def _engineio_server_class(self) -> type:
        return self._engine

    def open(self, session: Session, opening: Opening) -> None:
        """A session is about to be accepted."""
        if not self.manager_initialized:
            self.manager_initialized = True
            self.manager.initialize()
        session.owner = Client(session, opening, self.limits.join_timeout)

    def _closed(self, session: Session, reason: str) -> None:
        client: Client[PeerT] = session.owner
        for peer in tuple(client.peers.values()):
            self._receiver.lost(peer, REASONS.get(reason, reason))
        client.gone()
        session.owner = None  # the two would stay in memory until a full garbage collection

    def _message(self, session: Session, data: str | bytes) -> Awaitable[None] | None:
        client: Client[PeerT] = session.owner
        client.bytes.left -= len(data)
        try:
            peer = client.peers.get("/") if client.partial is None else None
            if peer is not None and (event := self._plain_event(data)) is not None:
                waiting = self._receiver.event(peer, *event)
            else:
                packet = self._whole(client, data)
                waiting = None if packet is None else self._take(client, packet)
        except PacketError as error:
            session.offends("packet", error)
            session.end("parse error")
            return None
        if client.bytes.left < 0 and waiting is None:
            return paced(client.bytes, lambda: self._rate(session), session, "bytes_per_second")
        return waiting

    def _rate(self, session: Session) -> float:
        return inf if session.owner is None else self.limits.bytes_per_second

    def _whole(self, client: Client[PeerT], data: str | bytes) -> Packet | None:
        """The packet that `data` is or completes; `None` while attachments are missing."""
        packet = client.partial
        if packet is None:
            packet = self._packet(encoded_packet=data)
            packet.check_arrival()
            self._check_size(client, packet)
            if packet.packet_type != CONNECT:
                self._check_joined(client, packet.namespace)
            if packet.attachment_count:
                client.partial = packet
                return None
            return packet
        if isinstance(data, str):
            raise PacketError("text where an attachment is due")
        if not packet.add_attachment(data):
            return None
        client.partial = None
        return packet

    def _check_size(self, client: Client[PeerT], packet: Packet) -> None:
        limit: Limit
        if packet.attachment_count > self.limits.attachments:
            limit, why = "attachments", f"{packet.attachment_count} attachments"
        elif self.limits.depth < MAX_DEPTH and is_deep(packet.data, self.limits.depth):
            limit, why = "depth", f"nested deeper than {self.limits.depth}"
        else:
            return
        client.session.meets(limit, why)
        raise PacketError(why)

    def _check_joined(self, client: Client[PeerT], namespace: str) -> None:
        if namespace not in client.peers and namespace not in client.left:
            raise PacketError(f"a packet for {namespace!r} before its CONNECT")

    def _take(self, client: Client[PeerT], packet: Packet) -> Awaitable[None] | None:
        namespace, data = packet.namespace, packet.data
        if packet.packet_type == CONNECT:
            return self._receiver.connected(client, namespace, data or {})
        peer = client.peers.get(namespace)
        if peer is None:
            return None
        if packet.packet_type == DISCONNECT:
            self._receiver.lost(peer, "client namespace disconnect")
        elif packet.packet_type in (ACK, BINARY_ACK):
            assert packet.id is not None
            return self._receiver.acked(peer, data, packet.id)
        else:
            return self._receiver.event(peer, data, packet.id)
        return None
