"""The adapter: the `Wire` of the dispatcher, on one side, and the `Receiver` of python-socketio.

One dispatcher takes every namespace and every event, so nothing is ever registered with
python-socketio and a reload does not touch it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gateway.api import Namespace, Socket, Value
from gateway.engine.frame import Frames
from gateway.errors import Reject, UsageError
from gateway.runtime.connection import Connection
from gateway.runtime.dispatch import Dispatcher
from gateway.transport.handshake import handshake_of
from gateway.transport.msgpack import MsgPackPacket
from gateway.transport.packet import (
    ACK,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    RESERVED,
    Packet,
    PacketError,
)
from gateway.transport.rooms import Rooms
from gateway.transport.server import JOIN_TIMEOUT, Client, Server

__all__ = ["Adapter", "Serializer"]

Serializer = Literal["json", "msgpack"]

PACKETS: Mapping[Serializer, type[Packet]] = {"json": Packet, "msgpack": MsgPackPacket}


@dataclass(slots=True, eq=False)
class Peer:
    """The wire's half of a socket.

    `early` holds what was emitted before CONNECT went out, and is `None` afterwards; `calls` are
    those who await an ack.
    """

    client: Client[Peer]
    socket: Socket
    connection: Connection | None = None
    early: list[Frames] | None = field(default_factory=list)
    calls: set[asyncio.Future[list[Value]]] = field(default_factory=set)


class Adapter:
    """Joins a dispatcher to a Socket.IO server on an Engine.IO server of class `engine`.

    `options` are the engine's, `serializer` is how packets are written. A session that is in no
    namespace for `join_timeout` seconds is ended. The adapter serves what is swapped into `live`.
    """

    def __init__(
        self,
        engine: type,
        options: Mapping[str, object],
        serializer: Serializer = "json",
        join_timeout: float = JOIN_TIMEOUT,
    ) -> None:
        self.dispatcher = Dispatcher(self)
        self.live = self.dispatcher.live
        self._packet = PACKETS[serializer]
        self.server: Server[Peer] = Server(self, engine, options, self._packet, join_timeout)
        self._rooms: Rooms = self.server.manager
        self._peers: dict[str, Peer] = {}

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
        answer = {"message": message, "data": data}
        self._send(peer, self._packet.frames(CONNECT_ERROR, answer, socket.namespace))

    def ack(self, socket: Socket, id: int, args: Sequence[object]) -> None:
        frames = self._packet.frames(ACK, list(args), socket.namespace, id)
        if (peer := self._peers.get(socket.id)) is not None:
            self._send(peer, frames)

    def leave_all(self, socket: Socket) -> None:
        self._rooms.basic_disconnect(socket.id, socket.namespace)

    # What plugins send

    async def emit(self, socket: Socket, event: str, args: Sequence[object]) -> None:
        frames = self._event(event, args, socket.namespace)
        peer = self._peers.get(socket.id)
        if peer is None:
            return
        if peer.early is None:
            self._send(peer, frames)
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
        self._send(peer, self._event(event, args, socket.namespace, ack))
        peer.calls.add(answer)
        try:
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
        if socket.id in self._peers:
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
        return Counter(peer.socket.namespace for peer in self._peers.values())

    async def close_namespaces(self, names: Collection[str], window: float) -> None:
        """Disconnect the sockets of namespaces that are served no more, spread over `window`.

        Seconds. To be run in the generation that served them: its routes see them off.
        """
        leaving = [peer for peer in self._peers.values() if peer.socket.namespace in names]
        for peer in leaving:
            await self.disconnect(peer.socket)
            await asyncio.sleep(window / len(leaving))

    # The server's receiver

    def connected(self, client: Client[Peer], namespace: str, auth: dict[str, Value]) -> None:
        if namespace in client.peers:
            raise PacketError(f"a second CONNECT to {namespace!r}")
        if not self.dispatcher.serves(namespace):
            refusal = {"message": "Invalid namespace"}
            client.session.send_many(self._packet.frames(CONNECT_ERROR, refusal, namespace))
            return
        sid = self._rooms.pre_connect(client.session.id, namespace)
        socket = Socket(sid, namespace, handshake_of(client.opening, auth), self)
        peer = self._peers[sid] = Peer(client, socket)
        client.enter(namespace, peer)
        peer.connection = self.dispatcher.connect(socket)

    def event(self, peer: Peer, data: list[Value], id: int | None) -> None:
        if peer.early is not None or peer.connection is None:
            raise PacketError(f"an event before {peer.socket.namespace} was joined")
        event, *args = data
        assert isinstance(event, str)
        self.dispatcher.packet(peer.connection, event, args, id)

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

    def _forget(self, peer: Peer) -> None:
        self._peers.pop(peer.socket.id, None)
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
