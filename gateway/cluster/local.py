"""The local engine of the bus: between the workers of one machine, over their mesh."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache

from gateway.cluster.bus import BusCounts, BusState, Channel, Kind, Receive
from gateway.cluster.peer import MOST_WAITING, Frame, Mesh, Peer

__all__ = ["LocalBus"]

HEAD = struct.Struct("!BH")
"""A message begins with the kind of its channel and the size of the namespace, which follows."""

BUSY = MOST_WAITING // 4
"""Bytes that wait for a peer from which volatile messages to it are dropped."""


class LocalBus:
    """The bus of a mesh; see `gateway.cluster.bus.Bus`.

    Nothing lies between two members, so it is always up. The outbox is that of each peer.
    """

    is_up = True
    lease = None
    most_bytes = sys.maxsize

    def __init__(self, mesh: Mesh) -> None:
        self.tag = mesh.tag
        self.counts = BusCounts()
        self.state = BusState(is_up=True)
        self.receive: Receive = _drop
        self.on_joined: list[Callable[[str], None]] = []
        self.on_lost: list[Callable[[str], None]] = []
        self.on_beat: list[Callable[[], None]] = []
        self.on_again: list[Callable[[str], None]] = []
        self._mesh = mesh
        self._heads: dict[Channel, bytes] = {}
        mesh.on(Frame.BUS, self._take)
        mesh.on_joined.append(self._joined)
        mesh.on_lost.append(self._lost)

    @property
    def members(self) -> Collection[str]:
        return self._mesh.peers.keys()

    def publish(
        self, channel: Channel, message: bytes, to: str | None = None, *, volatile: bool = False
    ) -> None:
        head = self._heads.get(channel)
        if head is None:
            name = channel.namespace.encode()
            head = self._heads[channel] = HEAD.pack(channel.kind, len(name)) + name
        peers = self._mesh.peers
        if to is None:
            for peer in peers.values():
                self._send(peer, head, message, volatile)
        elif peer_of_one := peers.get(to):
            self._send(peer_of_one, head, message, volatile)
        else:
            self.counts.unpublished["gone"] += 1

    def start(self) -> None:
        """Do nothing: the mesh is connected by others."""

    async def close(self) -> None:
        """Do nothing: the mesh is closed by others."""

    async def strangers(self, namespace: str) -> int:
        return 0

    def serve(self, namespaces: Iterable[str]) -> None:
        """Do nothing: all is received."""

    def _send(self, peer: Peer, head: bytes, message: bytes, volatile: bool) -> None:
        if volatile and peer.waiting > BUSY:
            self.counts.unpublished["volatile"] += 1
        elif peer.send(Frame.BUS, head, message):
            self.counts.published += 1
        else:
            self.counts.unpublished["full" if peer.is_up else "gone"] += 1

    def _take(self, peer: Peer, payload: bytes) -> None:
        _, size = HEAD.unpack_from(payload)
        end = HEAD.size + size
        self.counts.received += 1
        self.receive(_channel(payload[:end]), payload[end:])

    def _joined(self, peer: Peer) -> None:
        for joined in self.on_joined:
            joined(peer.tag)

    def _lost(self, peer: Peer) -> None:
        if peer.tag not in self._mesh.peers:  # one with the same tag may have taken its place
            for lost in self.on_lost:
                lost(peer.tag)


@lru_cache
def _channel(head: bytes) -> Channel:
    """The channel that a head names."""
    kind, size = HEAD.unpack_from(head)
    return Channel(Kind(kind), head[HEAD.size : HEAD.size + size].decode())


def _drop(channel: Channel, message: bytes) -> None:
    """Receive for nobody: a member that has just been made."""
