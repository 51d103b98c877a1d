"""The adapter: the `Wire` of the dispatcher, on one side, and the `Receiver` of python-socketio.

One dispatcher takes every namespace and every event, so nothing is ever registered with
python-socketio and a reload does not touch it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence
from functools import partial
from math import inf
from typing import Literal

from gateway.api import Namespace, Socket, Value
from gateway.engineio.bucket import Bucket
from gateway.engineio.frame import Frames
from gateway.engineio.limit import Limit
from gateway.errors import Reject, UsageError
from gateway.runtime.dispatch import Dispatcher
from gateway.runtime.limits import Limits
from gateway.runtime.under_way import PacketLimit
from gateway.runtime.verdict import BUSY, told
from gateway.socketio.handshake import handshake_of
from gateway.socketio.msgpack import MsgPackPacket
from gateway.socketio.packet import (
    ACK,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    RESERVED,
    Packet,
    PacketError,
)
from gateway.socketio.peers import Peer, Peers
from gateway.socketio.rooms import Rooms
from gateway.socketio.server import Client, Server, paced

__all__ = ["Adapter", "Serializer"]

Serializer = Literal["json", "msgpack"]

NONE = Limits()

PACKETS: Mapping[Serializer, type[Packet]] = {"json": Packet, "msgpack": MsgPackPacket}


class Adapter:
    """Joins a dispatcher to a Socket.IO server on an Engine.IO server of class `engine`.

    `options` are the engine's, `serializer` is how packets are written. The adapter serves what is
    swapped into `live`.
    """

    def __init__(
        self,
        engine: type,
        options: Mapping[str, object],
        serializer: Serializer = "json",
        limits: Limits = NONE,
    ) -> None:
        self.dispatcher = Dispatcher(self)
        self.live = self.dispatcher.live
        self._packet = PACKETS[serializer]
        self.server: Server[Peer] = Server(self, engine, options, self._packet, limits)
        self._rooms: Rooms = self.server.manager
        self._peers = Peers()

    # The dispatcher's wire

    def accept(self, socket: Socket) -> None:
        peer = self._peers.get(socket.id)
        if peer is None or peer.early is None:
            return
        self._rooms.admit(socket.id, socket.namespace)
        early, peer.early = peer.early, None
        self._send(peer, self._packet.frames(CONNECT, {"sid": socket.id}, socket.namespace))
        for frames in early:
            self._send(peer, frames)

    def refuse(self, socket: Socket, message: str, data: object) -> None:
        peer = self._peers.get(socket.id)
        if peer is None:
            return
        self._forget(peer)
        self.leave_all(socket)
        self._refuse(peer.client, socket.namespace, message, data)

    def ack(self, socket: Socket, id: int, args: Sequence[object]) -> None:
        frames = self._packet.frames(ACK, list(args), socket.namespace, id)
        if (peer := self._peers.get(socket.id)) is not None:
            self._send(peer, frames)

    def meets(self, socket: Socket, limit: PacketLimit) -> None:
        if (peer := self._peers.get(socket.id)) is not None:
            peer.client.session.meets(limit, f"a packet in {socket.namespace} is refused")

    def leave_all(self, socket: Socket) -> None:
        self._rooms.basic_disconnect(socket.id, socket.namespace)

    # What plugins send

    async def emit(self, socket: Socket, event: str, args: Sequence[object]) -> None:
        frames = self._event(event, args, socket.namespace)
        peer = self._peers.get(socket.id)
        if peer is None:
            return
        if peer.early is None:
            peer.client.session.send_many(frames, droppable=True)
        else:
            peer.early.append(frames)

    async def call(
        self, socket: Socket, event: str, args: Sequence[object], timeout: float
    ) -> list[Value]:
        peer = self._peers.get(socket.id)
        if peer is None:
            raise ConnectionError("the client is gone")
        if peer.early is not None:
            raise UsageError("call() before next(): the client is not there to answer yet")
        answer: asyncio.Future[list[Value]] = asyncio.get_running_loop().create_future()
        ack = self._rooms._generate_ack_id(socket.id, lambda *args: _settle(answer, args))
        peer.calls.add(answer)
        try:
            self._send(peer, self._event(event, args, socket.namespace, ack))
            async with asyncio.timeout(timeout):
                return await answer
        finally:
            peer.calls.discard(answer)
            self._rooms.callbacks.get(socket.id, {}).pop(ack, None)

    async def broadcast(self, target: Namespace, event: str, args: Sequence[object]) -> None:
        _check(event)
        await self._rooms.emit(
            event, tuple(args), target.name, to=target.rooms or None, skip_sid=target.excluded
        )

    async def join(self, socket: Socket, room: str) -> None:
        peer = self._peers.get(socket.id)
        if peer is None or peer.connection is None:
            return
        limit = self.dispatcher.limits(peer.connection).rooms_per_socket
        if not self._rooms.may_enter(socket.id, room, limit):
            peer.client.session.meets("rooms_per_socket", f"{limit} in {socket.namespace}")
            raise Reject("too_many_rooms", f"a socket may be in {limit} rooms")
        self._rooms.basic_enter_room(socket.id, socket.namespace, room)

    async def leave(self, socket: Socket, room: str) -> None:
        self._rooms.basic_leave_room(socket.id, socket.namespace, room)

    async def disconnect(self, socket: Socket) -> None:
        peer = self._peers.get(socket.id)
        if peer is None or peer.connection is None:
            return
        if peer.early is not None:
            refusal = Reject("refused", "connection refused")
            self.dispatcher.refuse(peer.connection, refusal)
            return
        self._send(peer, self._packet.frames(DISCONNECT, None, socket.namespace))
        self.lost(peer, "server namespace disconnect")

    def rooms(self, socket: Socket) -> frozenset[str]:
        return frozenset(self._rooms.get_rooms(socket.id, socket.namespace))

    def sockets(self, target: Namespace) -> tuple[Socket, ...]:
        left_out = self._rooms.members(target.name, target.excluded)
        found = self._rooms.get_participants(target.name, target.rooms or None)
        return tuple(self._peers[sid].socket for sid, _ in found if sid not in left_out)

    # Reload and shutdown

    def count(self) -> Mapping[str, int]:
        """How many sockets each namespace has."""
        return self._peers.counts

    def limit(self, limits: Limits) -> None:
        """Set the limits, of sockets that are open as well."""
        self.server.limit(limits)
        self.dispatcher.under_way.load.watch(limits.overload_after)

    async def close_namespaces(self, names: Collection[str], window: float) -> None:
        """Disconnect the sockets of namespaces that are served no more, spread over `window`.

        Seconds. To be run in the generation that served them: its routes see them off.
        """
        leaving = [peer for peer in self._peers if peer.socket.namespace in names]
        for peer in leaving:
            await self.disconnect(peer.socket)
            await asyncio.sleep(window / len(leaving))

    # The server's receiver

    def connected(
        self, client: Client[Peer], namespace: str, auth: dict[str, Value]
    ) -> Awaitable[None] | None:
        if namespace in client.peers:
            raise PacketError(f"a second CONNECT to {namespace!r}")
        if not self.dispatcher.serves(namespace):
            refusal = {"message": "Invalid namespace"}
            client.session.send_many(self._packet.frames(CONNECT_ERROR, refusal, namespace))
            return None
        bucket = client.packets.setdefault(namespace, Bucket())
        bucket.left -= 1
        self._enter(client, namespace, auth, bucket)
        return None if bucket.left >= 0 else self._paced(client, namespace, bucket)

    def _enter(
        self, client: Client[Peer], namespace: str, auth: dict[str, Value], bucket: Bucket
    ) -> None:
        if (limit := self._limit(client, namespace)) is not None:
            client.session.meets(limit, f"refused in {namespace}")
            self._refuse(client, namespace, BUSY.message, told(BUSY))
            return
        sid = self._rooms.pre_connect(client.session.id, namespace)
        socket = Socket(sid, namespace, handshake_of(client.opening, auth), self)
        peer = Peer(client, socket, bucket)
        self._peers.add(peer)
        client.enter(namespace, peer)
        peer.connection = self.dispatcher.connection(socket)
        self.dispatcher.connect(peer.connection)

    def event(self, peer: Peer, data: list[Value], id: int | None) -> Awaitable[None] | None:
        if peer.early is not None or peer.connection is None:
            raise PacketError(f"an event before {peer.socket.namespace} was joined")
        event, *args = data
        assert isinstance(event, str)
        self.dispatcher.packet(peer.connection, event, args, id)
        bucket = peer.packets
        bucket.left -= 1
        return None if bucket.left >= 0 else self._paced(peer.client, peer.socket.namespace, bucket)

    def acked(self, peer: Peer, data: list[Value], id: int) -> Awaitable[None] | None:
        # python-socketio keeps its counter under id 0, which a client must not reach.
        if id and id in self._rooms.callbacks.get(peer.socket.id, ()):
            answered: Awaitable[None] = self._rooms.trigger_callback(peer.socket.id, id, data)
            return answered
        return None

    def lost(self, peer: Peer, reason: str) -> None:
        self._forget(peer)
        self._rooms.depart(peer.socket.id, peer.socket.namespace)
        for answer in peer.calls:
            if not answer.done():
                answer.set_exception(ConnectionError("the client left before it answered"))
        if peer.connection is not None:
            self.dispatcher.gone(peer.connection, reason)

    def _paced(
        self, client: Client[Peer], namespace: str, bucket: Bucket
    ) -> Awaitable[None] | None:
        rate = partial(self._rate, client, namespace)
        return paced(bucket, rate, client.session, "packets_per_second")

    def _rate(self, client: Client[Peer], namespace: str) -> float:
        """How many packets a second a client may send to a namespace, while both are there."""
        current = self.live.current
        if client.session.owner is None or current is None:
            return inf
        found = current.blueprint.namespaces.get(namespace)
        return inf if found is None else found.limits.packets_per_second

    def _refuse(self, client: Client[Peer], namespace: str, message: str, data: object) -> None:
        refusal = {"message": message, "data": data}
        client.session.send_many(self._packet.frames(CONNECT_ERROR, refusal, namespace))

    def _limit(self, client: Client[Peer], namespace: str) -> Limit | None:
        """The limit for which nobody is let in, if there is one."""
        generation = self.live.current
        assert generation is not None
        own = generation.blueprint.namespaces[namespace].limits
        address = client.opening.address
        full = self._peers.limit(namespace, address, self.server.limits, own)
        return full or self.dispatcher.under_way.turns_away(generation)

    def _forget(self, peer: Peer) -> None:
        self._peers.remove(peer)
        peer.client.leave(peer.socket.namespace)

    def _send(self, peer: Peer, frames: Frames) -> None:
        peer.client.session.send_many(frames)

    def _event(
        self, event: str, args: Sequence[object], namespace: str, id: int | None = None
    ) -> Frames:
        _check(event)
        return self._packet.frames(EVENT, [event, *args], namespace, id)


def _check(event: str) -> None:
    if not isinstance(event, str):
        raise TypeError(f"an event's name is text, not {type(event).__name__}")
    if event in RESERVED:
        raise UsageError(f"event '{event}' is reserved: clients take it for Socket.IO's own")


def _settle(answer: asyncio.Future[list[Value]], args: tuple[Value, ...]) -> None:
    if not answer.done():
        answer.set_result(list(args))
