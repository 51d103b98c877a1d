"""A client: one Engine.IO session with a socket in each namespace that it has joined."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from math import inf

from gateway.api import Handshake, Namespace, Socket, Value
from gateway.engineio.drain import Drain
from gateway.engineio.frames import Frames
from gateway.engineio.pacing import paced
from gateway.engineio.packet import Message
from gateway.engineio.receiver import Reason
from gateway.engineio.session import Session, new_id, tag_of
from gateway.errors import Reject, UsageError
from gateway.http.request import Request
from gateway.limits import LimitName, Limits, TokenBucket
from gateway.runtime.connection import ACCEPTED, LEFT
from gateway.runtime.live import FAULT
from gateway.runtime.outcome import BUSY, connect_error_data, level_of
from gateway.socketio.hub import Hub
from gateway.socketio.json import MAX_DEPTH, is_deep
from gateway.socketio.packet import (
    ACK,
    BINARY_ACK,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    HEAVY,
    Packet,
    PacketError,
    weight,
)
from gateway.socketio.partial import Partial
from gateway.socketio.rooms import Member

__all__ = ["Client", "ConnectedSocket"]

LOG = logging.getLogger("sockgw.socketio")

AUTH_TOO_LARGE = Reject("too_large", "auth is larger than this server allows")

REASONS: Mapping[str, str] = {
    "client disconnect": "transport close",
    "server disconnect": "forced server close",
}
"""Reasons of Engine.IO that have another name in Socket.IO 4."""


class ConnectedSocket(Member):
    """One socket of a client.

    `packets` counts the packets that the client may still send. `_early` holds events emitted
    before CONNECT was sent; `None` means none.
    """

    __slots__ = ("_early", "client", "packets")

    def __init__(
        self, client: Client, scope: Namespace, handshake: Handshake, packets: TokenBucket
    ) -> None:
        socket = Socket(new_id(tag_of(client.session)), scope, handshake, self)
        super().__init__(socket, scope, client.session)
        self.client = client
        self.packets = packets
        self._early: list[Frames] | None = None

    # Packets from the client

    def event(self, data: list[Value], id: int | None) -> Awaitable[None] | None:
        """Handle an event. The session's next message waits for the returned awaitable."""
        if self.state is not ACCEPTED:
            raise PacketError(f"an event before {self.socket.namespace} was joined")
        event, *args = data
        assert isinstance(event, str)
        self.client.hub.dispatcher.packet(self, event, args, id)
        packets = self.packets
        packets.tokens -= 1
        if packets.tokens >= 0:
            return None
        return self.client.throttle_packets(self.socket.namespace, packets)

    def lost(self, reason: str) -> None:
        """End the socket, which is gone; `reason` is one of Socket.IO's."""
        self._forget()
        self.answer_none()
        if self.session.outbox.drain is not None:
            self.session.outbox.drain.wake()
        self.client.hub.dispatcher.left(self, reason)

    # Called by the dispatcher

    def send_connect(self) -> None:
        hub, early = self.client.hub, self._early
        self._early = None
        self.client.refusals = 0
        hub.rooms.admit(self)
        connected = {"sid": self.socket.id}
        self.session.send_many(hub.packet.frames(CONNECT, connected, self.socket.namespace))
        for frames in early or ():
            self._send(frames)

    def refuse(self, message: str, data: object) -> None:
        self._forget()
        self.leave_rooms()
        self.client.refuse(self.socket.namespace, message, data)

    def ack(self, id: int, args: Sequence[object]) -> None:
        frames = self.client.hub.packet.frames(ACK, list(args), self.socket.namespace, id)
        if self.state is ACCEPTED:
            self.session.send_many(frames)

    def count_limit(
        self, limit: LimitName, why: str = "a packet is refused", key: str = ""
    ) -> None:
        name = self.socket.namespace
        key = key or self.client.hub.limit_key(limit, name)
        self.session.count_limit(limit, f"{why} in {name}", key)

    def sockets_of(self, user: str) -> int:
        return self.client.hub.rooms.sockets_of(user, self.socket.namespace)

    def count_refused(self, why: str) -> None:
        thing = f"connection to {self.socket.namespace!r}"
        self.session.count_refused("connection", thing, why, level_of(why))

    # Called by plugins

    async def emit(self, event: str, args: Sequence[object], volatile: bool = False) -> None:
        frames = self.client.hub.event(event, args, self.socket.namespace)
        if volatile and not self.client.hub.ready((self,)):
            return
        if self.state is ACCEPTED:
            self.session.send_many(frames, droppable=True)
        elif self.state is not LEFT:
            if self._early is None:
                self._early = []
            self._early.append(frames)

    async def drained(self) -> None:
        if self.state is not ACCEPTED and self.state is not LEFT:
            raise UsageError("drained() before next(): nothing is sent to the client yet")
        outbox = self.session.outbox
        if outbox.drain is None:
            outbox.drain = Drain()
        await outbox.drain.wait(self._may_send)
        if self.state is LEFT:
            raise ConnectionError("the client is gone")

    async def call(self, event: str, args: Sequence[object], timeout: float) -> list[Value]:
        if self.state is LEFT:
            raise ConnectionError("the client is gone")
        if self.state is not ACCEPTED:
            raise UsageError("call() before next(): the client is not there to answer yet")
        answers = await self.client.hub.ask((self,), event, args, timeout)
        if not answers.missing:
            return answers.answers[self.socket.id]
        if self.is_connected():
            raise TimeoutError
        raise ConnectionError("the client left before it answered")

    async def join(self, rooms: Sequence[str]) -> None:
        if self.state is not LEFT:
            hub = self.client.hub
            hub.rooms.join(self, rooms, hub.dispatcher.limits(self).rooms_per_socket)

    async def leave(self, rooms: Sequence[str]) -> None:
        self.client.hub.rooms.leave(self, rooms)

    async def disconnect(self, close: bool = False) -> None:
        if not close:
            self._disconnect()
        elif self.state is not LEFT:
            for socket in tuple(self.client.sockets.values()):
                socket._disconnect()
            self.session.close(apart=True)

    def siblings(self) -> tuple[Socket, ...]:
        sockets = self.client.sockets.values()
        return tuple(each.socket for each in sockets if each is not self and each.is_connected())

    def _disconnect(self) -> None:
        if self.state is ACCEPTED:
            packet = self.client.hub.packet
            self._send(packet.frames(DISCONNECT, None, self.socket.namespace))
            self.lost("server namespace disconnect")
        elif self.state is not LEFT:
            refusal = Reject("refused", "connection refused")
            self.client.hub.dispatcher.refuse(self, refusal, "a plugin has disconnected it")

    def _send(self, frames: Frames) -> None:
        if self.state is ACCEPTED:
            self.session.send_many(frames)

    def _may_send(self) -> bool:
        """True if little waits for the client, or if it is gone."""
        return self.state is LEFT or self.session.outbox.is_low(self.client.hub.limits)

    def _forget(self) -> None:
        self.client.hub.rooms.remove(self)
        self.client.leave(self)


class Client:
    """The receiver of one session, and its sockets by namespace.

    `request` is the one that opened the session. `data` is what handshake middleware has put into
    the `data` of each socket. `bytes` counts the bytes that the client may
    still send. A packet for a namespace that the client has left may have crossed our DISCONNECT,
    so it is no violation.

    A session that is in no namespace for `join_timeout` seconds is ended. Node checks this only
    after the session opens, but one that has left its last namespace wastes a connection too.
    """

    __slots__ = (
        "_join_by",
        "_join_timer",
        "_left",
        "_partial",
        "_spent",
        "bytes",
        "data",
        "hub",
        "is_closed",
        "refusals",
        "request",
        "session",
        "socket_id",
        "sockets",
    )

    def __init__(
        self, session: Session, request: Request, hub: Hub, data: Mapping[str, object]
    ) -> None:
        self.session = session
        self.request = request
        self.hub = hub
        self.data = data
        self.sockets: dict[str, ConnectedSocket] = {}
        self.socket_id = ""
        self.bytes = TokenBucket()
        self.is_closed = False
        self._left: frozenset[str] = frozenset()
        # Kept, so that leaving and rejoining a namespace does not evade `packets_per_second`.
        self._spent: dict[str, TokenBucket] | None = None
        self._partial: Partial | None = None  # attachments are missing
        self.refusals = 0  # since a socket was accepted
        self._join_timer: asyncio.TimerHandle | None = None
        self._join_by = 0.0
        self._await_join(hub.limits.join_timeout)

    # Called by the session

    def receive(self, message: Message) -> Awaitable[None] | None:
        """Handle a message. The next one waits for the returned awaitable."""
        size, bucket, is_whole = len(message), self.bytes, self._partial is None
        bucket.tokens -= size
        try:
            socket = self.sockets.get("/") if is_whole else None
            if socket is not None and (event := self.hub.plain_event(message)) is not None:
                waiting = socket.event(*event)
            else:
                waiting = self._take(message)
        except PacketError as error:
            self.session.count_violation("packet", error)
            self.session.end("parse error")
            return None
        except Exception:
            LOG.exception(FAULT)
            return None
        if size > HEAVY and is_whole and waiting is None:  # attachments are light
            waiting = self.session.charge(weight(message))
        if bucket.tokens < 0 and waiting is None:
            return paced(bucket, self._byte_rate, self.session, "bytes_per_second")
        return waiting

    def closed(self, reason: Reason) -> None:
        """End the sockets of the session, which is over."""
        self.is_closed = True
        for socket in tuple(self.sockets.values()):
            socket.lost(REASONS.get(reason, reason))
        self._stop_join_timer()
        if self._partial is not None:
            self._partial.timer.cancel()

    def limit(self, limits: Limits) -> None:
        """Apply changed limits.

        If `join_timeout` has changed, it starts again for a client in no namespace.
        """
        sockets = self.sockets.values()
        spent = (self._spent or {}).values()
        for bucket in (
            self.bytes,
            self.session.packets,
            *(socket.packets for socket in sockets),
            *spent,
        ):
            bucket.tokens = min(bucket.tokens, 0.0)
        if self.session.outbox.drain is not None:
            self.session.outbox.drain.wake()  # looks when these limits have become the hub's
        if not sockets and limits.join_timeout != self.hub.limits.join_timeout:
            self._await_join(limits.join_timeout)

    # Its sockets

    def leave(self, socket: ConnectedSocket) -> None:
        """Forget a socket, if it is not forgotten yet."""
        namespace = socket.socket.namespace
        if self.sockets.get(namespace) is not socket:
            return
        del self.sockets[namespace]
        if self.is_closed:
            return
        self._left |= {namespace}
        self._remember(namespace, socket.packets)
        if self.sockets:
            return
        if socket.state is ACCEPTED:
            self._await_join(self.hub.limits.join_timeout)
        else:  # a refusal does not give it more time
            self._start_join_timer()

    def refuse(self, namespace: str, message: str, data: object = None) -> None:
        """Send CONNECT_ERROR with a message and its `data`; end a session that had too many."""
        refusal = {"message": message} if data is None else {"message": message, "data": data}
        self.session.send_many(self.hub.packet.frames(CONNECT_ERROR, refusal, namespace))
        self.refusals += 1
        if self.refusals >= self.hub.limits.refusals:
            self.session.count_limit("refusals", f"{self.refusals} CONNECTs in a row are refused")
            self.session.close()

    def throttle_packets(self, namespace: str, packets: TokenBucket) -> Awaitable[None] | None:
        """Slow the session down. Its next message waits for the returned awaitable."""
        rate = partial(self._packet_rate, namespace)
        key = partial(self.hub.limit_key, "packets_per_second", namespace)
        return paced(packets, rate, self.session, "packets_per_second", key)

    def _connect(self, namespace: str, auth: dict[str, Value], size: int) -> Awaitable[None] | None:
        if namespace in self.sockets:
            raise PacketError(f"a second CONNECT to {namespace!r}")
        if not self.hub.dispatcher.serves(namespace):
            if self.hub.dispatcher.live.current is not None:
                thing = f"namespace {namespace!r}"
                self.session.count_refused("namespace", thing, "add it to namespaces")
            self.refuse(namespace, "Invalid namespace")
            return self.session.charge()
        if size > self.hub.limits.auth_size:
            self.session.count_limit("auth_size", f"{size} bytes in {namespace}")
            self.refuse(namespace, AUTH_TOO_LARGE.message, connect_error_data(AUTH_TOO_LARGE))
            return self.session.charge()
        packets = (self._spent or {}).get(namespace) or TokenBucket()
        packets.tokens -= 1
        limit = self.hub.limit(namespace, self.session.address)
        if limit is None:
            self._enter(namespace, auth, packets)
        else:
            self._remember(namespace, packets)
            key = self.hub.limit_key(limit, namespace) if limit == "sockets" else ""
            self.session.count_limit(limit, f"a connection to {namespace} was refused", key)
            self.refuse(namespace, BUSY.message, connect_error_data(BUSY))
        return None if packets.tokens >= 0 else self.throttle_packets(namespace, packets)

    def _enter(self, namespace: str, auth: dict[str, Value], packets: TokenBucket) -> None:
        request = self.request
        handshake = Handshake(
            auth=auth,
            query=request.query,
            headers=request.headers,
            address=self.session.address,
            url=request.url,
            time=time.time(),
            secure=self.session.is_secure,
        )
        socket = ConnectedSocket(self, self.hub.scope(namespace), handshake, packets)
        if self.data:
            socket.socket.data.update(self.data)
        self.hub.rooms.add(socket)
        self.sockets[namespace] = socket
        self.socket_id = socket.socket.id
        self._stop_join_timer()
        self.hub.dispatcher.connect(socket)

    def _remember(self, namespace: str, packets: TokenBucket) -> None:
        if self._spent is None:
            self._spent = {}
        self._spent[namespace] = packets

    # Its packets

    def _take(self, message: Message) -> Awaitable[None] | None:
        packet = self._whole(message)
        if packet is None:
            return self.session.charge()
        namespace, data = packet.namespace, packet.data
        if packet.packet_type == CONNECT:
            return self._connect(namespace, data or {}, len(message))
        socket = self.sockets.get(namespace)
        if socket is None:
            return self.session.charge()
        if packet.packet_type == DISCONNECT:
            socket.lost("client namespace disconnect")
        elif packet.packet_type in (ACK, BINARY_ACK):
            assert packet.id is not None
            socket.answer(data, packet.id, packet.size)
        else:
            return socket.event(data, packet.id)
        return self.session.charge()

    def _whole(self, message: Message) -> Packet | None:
        """The packet that a message completes; `None` while attachments are missing."""
        if self._partial is not None:
            packet = self._partial.add(message)
            if packet is not None:
                self._partial.timer.cancel()
                self._partial = None
            return packet
        packet = self.hub.packet(encoded_packet=message)
        packet.check_arrival()
        self._check_size(packet)
        name = packet.namespace
        if packet.packet_type != CONNECT and name not in self.sockets and name not in self._left:
            raise PacketError(f"a packet for {name!r} before its CONNECT")
        if not packet.attachment_count:
            return packet
        later = asyncio.get_running_loop().call_later
        timer = later(self.hub.limits.request_timeout, self._never_completed)
        self._partial = Partial(packet, message, self.session.settings.max_payload, timer)
        return None

    def _check_size(self, packet: Packet) -> None:
        limits = self.hub.limits
        limit: LimitName
        if packet.attachment_count > limits.attachments:
            limit, why = "attachments", f"{packet.attachment_count} attachments"
        elif limits.depth < MAX_DEPTH and is_deep(packet.data, limits.depth):
            limit, why = "depth", f"nested deeper than {limits.depth}"
        else:
            return
        self.session.count_limit(limit, why)
        raise PacketError(why)

    # Timers and rates

    def _await_join(self, seconds: float) -> None:
        """Give the client so many seconds, from now on, to join a namespace."""
        self._join_by = asyncio.get_running_loop().time() + seconds
        self._start_join_timer()

    def _start_join_timer(self) -> None:
        self._stop_join_timer()
        loop = asyncio.get_running_loop()
        self._join_timer = loop.call_at(self._join_by, self._never_joined)

    def _stop_join_timer(self) -> None:
        if self._join_timer is not None:
            self._join_timer.cancel()
            self._join_timer = None

    def _never_joined(self) -> None:
        self.session.count_limit("join_timeout", "in no namespace")
        self.session.end("server disconnect")

    def _never_completed(self) -> None:
        self.session.count_limit("request_timeout", "the attachments of a packet did not arrive")
        self.session.end("parse error")

    def _byte_rate(self) -> float:
        return inf if self.is_closed else self.hub.limits.bytes_per_second

    def _packet_rate(self, namespace: str) -> float:
        """The limit for packets to a namespace, per second; `inf` once it or the client is gone."""
        current = self.hub.dispatcher.live.current
        if self.is_closed or current is None:
            return inf
        found = current.blueprint.namespaces.get(namespace)
        return inf if found is None else found.limits.packets_per_second
