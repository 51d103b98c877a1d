"""python-socketio on our engine: packets in, decoded once and strictly, handed to a `Receiver`.

python-socketio keeps the clients, their rooms and their acks. What it would do on the arrival of a
packet is replaced here: it runs a client's `connect` event as a connection, calls a handler twice
on a `TypeError`, keeps a session that breaks the protocol, and leaves sockets behind.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import socketio

from gateway.api import Value
from gateway.engine.frame import Frames
from gateway.transport.packet import (
    ACK,
    BINARY_ACK,
    CONNECT,
    DISCONNECT,
    Packet,
    PacketError,
)
from gateway.transport.rooms import Rooms

__all__ = ["Client", "Receiver", "Server"]

log = logging.getLogger("sockgw.transport")

PeerT = TypeVar("PeerT")


@dataclass(slots=True, eq=False)
class Client(Generic[PeerT]):
    """One Engine.IO session and its sockets, by namespace.

    `left` are the namespaces it was once in: a packet for one of these crossed our DISCONNECT and
    is no offence. `partial` is a packet whose attachments have not all come.
    """

    eio_sid: str
    environ: Mapping[str, Any]
    peers: dict[str, PeerT] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    partial: Packet | None = None


class Receiver(Protocol[PeerT]):
    """Where packets go. Each may raise `PacketError`, which ends the session."""

    def connected(self, client: Client[PeerT], namespace: str, auth: dict[str, Value]) -> None: ...

    def event(self, peer: PeerT, data: list[Value], id: int | None) -> None: ...

    async def acked(self, peer: PeerT, data: list[Value], id: int) -> None: ...

    def lost(self, peer: PeerT, reason: str) -> None: ...


class Server(socketio.AsyncServer, Generic[PeerT]):  # type: ignore[misc]
    """A `socketio.AsyncServer` that hands what arrives to `receiver`.

    `engine` is the class of the Engine.IO server, `options` what it is made with.
    """

    def __init__(
        self, receiver: Receiver[PeerT], engine: type, options: Mapping[str, object]
    ) -> None:
        self._receiver = receiver
        self._engine = engine
        self._clients: dict[str, Client[PeerT]] = {}
        super().__init__(
            client_manager=Rooms(),
            serializer=Packet,
            namespaces="*",
            logger=log,
            engineio_logger=logging.getLogger("sockgw.engine"),
            **options,
        )

    def send_frames(self, eio_sid: str, frames: Frames) -> None:
        """Send the messages of one packet, in one step, to a session; none when it is gone."""
        session = self.eio.sessions.get(eio_sid)
        if session is not None:
            session.send_many(frames)

    def _engineio_server_class(self) -> type:
        return self._engine

    async def _handle_eio_connect(self, eio_sid: str, environ: Mapping[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        self._clients[eio_sid] = Client(eio_sid, environ)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        self.environ.pop(eio_sid, None)
        client = self._clients.pop(eio_sid, None)
        if client is not None:
            for peer in tuple(client.peers.values()):
                self._receiver.lost(peer, reason)

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        client = self._clients.get(eio_sid)
        if client is None:
            return
        try:
            packet = self._whole(client, data)
            if packet is not None:
                await self._take(client, packet)
        except PacketError as error:
            log.info("session %s ended: %s", eio_sid, error)
            await self.eio.disconnect(eio_sid, "parse error")

    def _whole(self, client: Client[PeerT], data: str | bytes) -> Packet | None:
        """The packet that `data` is or completes; `None` while attachments are missing."""
        packet = client.partial
        if packet is None:
            packet = Packet(encoded_packet=data)
            packet.check_arrival()
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

    def _check_joined(self, client: Client[PeerT], namespace: str) -> None:
        if namespace not in client.peers and namespace not in client.left:
            raise PacketError(f"a packet for {namespace} before its CONNECT")

    async def _take(self, client: Client[PeerT], packet: Packet) -> None:
        namespace, data = packet.namespace, packet.data
        if packet.packet_type == CONNECT:
            self._receiver.connected(client, namespace, data or {})
            return
        peer = client.peers.get(namespace)
        if peer is None:
            return
        if packet.packet_type == DISCONNECT:
            self._receiver.lost(peer, "client namespace disconnect")
        elif packet.packet_type in (ACK, BINARY_ACK):
            assert packet.id is not None
            await self._receiver.acked(peer, data, packet.id)
        else:
            self._receiver.event(peer, data, packet.id)
